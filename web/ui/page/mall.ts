// SPDX-License-Identifier: GPL-3.0-or-later

// What the mall's pages do beyond what they do without script.

import './mallwork'; // before what also hears of forms
import './mallpasskey';
import './malltalk';
