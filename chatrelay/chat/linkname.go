// SPDX-License-Identifier: GPL-3.0-or-later

package chat

import (
	"crypto/sha256"
	"encoding/hex"
)

// LinkName is what a log calls a link: of its token, which opens the link, only a hash.
func LinkName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}
