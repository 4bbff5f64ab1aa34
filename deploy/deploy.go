// SPDX-License-Identifier: GPL-3.0-or-later

// Package deploy has what is shipped for the administrator.
package deploy

import _ "embed"

// Unit is the service of systemd.
//
//go:embed chmaild.service
var Unit string
