// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Settings returns the settings of logins, the defaults for those that have
// set nothing.
func (s *Store) Settings(ctx context.Context, logins ...string) (map[string]chat.Settings, error) {
	of := make(map[string]chat.Settings, len(logins))
	for _, login := range logins {
		of[login] = chat.DefaultSettings()
	}
	if len(logins) == 0 {
		return of, nil
	}
	var args params
	rows, err := collect(ctx, s.read, func(rows *sql.Rows) (row [2]string, err error) {
		err = rows.Scan(&row[0], &row[1])
		return row, err
	}, "SELECT login, settings FROM logins WHERE login IN "+among(&args, folded(logins)), args...)
	if err != nil {
		return of, fmt.Errorf("reading settings: %w", err)
	}
	for _, row := range rows {
		kept, err := decode(row[1])
		if err != nil {
			return of, err
		}
		for _, login := range logins {
			if fold(login) == row[0] {
				of[login] = kept
			}
		}
	}
	return of, nil
}

// decode reads settings; what an older version did not know has its default.
func decode(text string) (chat.Settings, error) {
	kept := chat.DefaultSettings()
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return kept, fmt.Errorf("reading settings: %w", err)
	}
	if kept.Until != nil && !time.Now().Before(*kept.Until) {
		kept.Availability, kept.Until = chat.Available, nil
	}
	return kept, nil
}

// ChangeSettings lets change make a login's settings new, keeps them, and
// returns them. An error of change, or a *SettingError, leaves the old ones.
func (s *Store) ChangeSettings(
	ctx context.Context, login string, change func(*chat.Settings) error,
) (chat.Settings, error) {
	var kept chat.Settings
	err := s.tx(ctx, func(tx querier) error {
		// The row must be there to be locked.
		b, err := json.Marshal(chat.DefaultSettings())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO logins (login, settings) VALUES ($1, $2) ON CONFLICT DO NOTHING",
			fold(login), string(b)); err != nil {
			return err
		}
		var text string
		if err := tx.QueryRowContext(ctx, settingsOf+s.forUpdate,
			fold(login)).Scan(&text); err != nil {
			return err
		}
		if kept, err = decode(text); err != nil {
			return err
		}
		if err := change(&kept); err != nil {
			return err
		}
		if err := kept.Check(time.Now()); err != nil {
			return err
		}
		kept.Tidy()
		if b, err = json.Marshal(kept); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE logins SET settings = $1 WHERE login = $2", string(b), fold(login))
		return err
	})
	if err != nil {
		return chat.Settings{}, fmt.Errorf("changing settings: %w", err)
	}
	return kept, nil
}

// Language is the one in which a person wants to be written to: that of their
// settings, or of the newest transcript that they have asked for; empty: not known.
func (s *Store) Language(ctx context.Context, p chat.Person) (string, error) {
	p = s.normal(p)
	own, err := settings(ctx, s.read, p.Login)
	if err == nil && own.Lang == "" {
		err = s.read.QueryRowContext(ctx, "SELECT t.lang FROM transcripts t"+
			" JOIN participants p ON p.id = t.participant"+
			" WHERE ($1 <> '' AND p.login = $1 OR p.login = '' AND p.addr = $2) AND t.lang <> '' AND NOT p.guest"+
			" ORDER BY t.participant DESC LIMIT 1", p.Login, p.Addr).Scan(&own.Lang)
		if errors.Is(err, sql.ErrNoRows) {
			return "", nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading a person's language: %w", err)
	}
	return own.Lang, nil
}

const settingsOf = "SELECT settings FROM logins WHERE login = $1"

// settings are those of a login within a transaction.
func settings(ctx context.Context, tx querier, login string) (chat.Settings, error) {
	var text string
	err := tx.QueryRowContext(ctx, settingsOf, login).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return chat.DefaultSettings(), nil
	}
	if err != nil {
		return chat.Settings{}, err
	}
	return decode(text)
}
