// SPDX-License-Identifier: GPL-3.0-or-later

//go:build !linux

package store

const direct = 0
