// SPDX-License-Identifier: GPL-3.0-or-later
onmessage = ({ data }) => setTimeout(() => postMessage(data.id), data.ms);
