#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Before the package is removed, and not when it is upgraded (deb: "upgrade", rpm: 1). The mail stays.
set -e
case "$1" in
upgrade | 1) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl disable --now chmaild.service
fi
