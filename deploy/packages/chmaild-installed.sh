#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# After the package was installed or upgraded: its user, its folders, and the new program.
set -e
systemd-sysusers chmaild.conf
systemd-tmpfiles --create chmaild.conf
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart chmaild.service
fi
