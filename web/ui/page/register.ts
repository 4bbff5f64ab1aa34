// SPDX-License-Identifier: GPL-3.0-or-later

// The form with which somebody makes a login, while many of their network do so: the work
// that it needs then.

import '../base/mishap';
import './mallwork';
