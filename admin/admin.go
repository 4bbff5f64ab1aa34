// SPDX-License-Identifier: GPL-3.0-or-later

// Package admin is what chmaild's commands do with accounts, mail,
// conversations and presence.
//
// The files of a state directory belong to one process at a time, which holds
// its lock (Claim): a server, or a command while no server runs. That process
// has an Owner, which does the work. A server serves its Owner on a Unix socket
// (Serve), and commands ask it through a Client (Dial). Both are an Admin, so
// that a command does not see which of them it works with.
//
// A server writes exports and backups itself, into a folder that the command
// names. It therefore needs the right to write there.
package admin

import (
	"context"
	"io"
	"time"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/presence"
)

// Admin is what a command can ask for.
type Admin interface {
	Users
	Addresses
	Lists
	Mails
	People
	Conversations
	Malls
	Queues
	Invitations
	Guards
	// Backup writes everything that was acknowledged before it into a new folder.
	Backup(ctx context.Context, to Folder) error
	Close() error
}

// Users are the accounts.
type Users interface {
	// Logins lists the accounts.
	Logins(ctx context.Context) ([]string, error)
	// AddUser adds an account and its mailboxes.
	AddUser(ctx context.Context, login, password string) error
	// MayAdd says why an account cannot be added, before a password is asked for.
	MayAdd(ctx context.Context, login string) error
	// SetPassword changes a password and ends the login's sessions.
	SetPassword(ctx context.Context, login, password string) error
	// RemoveUser removes an account with its mail and ends its sessions.
	RemoveUser(ctx context.Context, login string) error
	// Accounts lists the accounts with what they keep and what is set for them.
	Accounts(ctx context.Context) ([]Account, error)
	// AddUsers adds accounts, all that can be, and says which cannot. With try nothing is
	// added.
	AddUsers(ctx context.Context, list []NewUser, try bool) ([]Refusal, error)
	// Disable keeps a login out, ends its sessions and refuses its mail, or ends that.
	Disable(ctx context.Context, login string, disabled bool, reason string) error
	// SetQuota bounds the octets of an account; 0: no bound; nil: as the configuration says.
	SetQuota(ctx context.Context, login string, octets *int64) error
	// Forward sets where an account's mail goes; to nobody: it stays here.
	Forward(ctx context.Context, login string, to []string, keep bool) error
	AppPasswords
}

// Addresses are the domains and aliases. All methods err where the configuration has no
// chmail.addresses.
type Addresses interface {
	Domains(ctx context.Context) ([]addresses.Domain, error)
	AddDomain(ctx context.Context, name string) error
	// RemoveDomain removes a domain without accounts, and its aliases.
	RemoveDomain(ctx context.Context, name string) error
	Aliases(ctx context.Context) ([]addresses.Alias, error)
	AddAlias(ctx context.Context, addr string, members []string) error
	// RemoveAlias takes members out, or removes all of it where none is named.
	RemoveAlias(ctx context.Context, addr string, members []string) error
}

// Account is an account, what it keeps and what is set for it.
type Account struct {
	Login string `json:"login"`
	mailstore.Usage
	Quota    int64    `json:"quota"` // octets; 0: no bound
	Disabled bool     `json:"disabled"`
	Reason   string   `json:"reason,omitempty"`
	Forward  []string `json:"forward,omitempty"`
}

// NewUser is an account to be added.
type NewUser struct {
	Login    string
	Password string // itself, or what another mail server kept of it: password.Import
	Quota    *int64
	Forward  []string
}

// Refusal is an account that could not be added, by its place in the list.
type Refusal struct {
	At   int
	Text string
}

// AppPasswords are the passwords of an account's devices. All methods err with
// apppassword.ErrNone where the accounts have none.
type AppPasswords interface {
	AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error)
	// AddAppPassword makes one, which is shown now and never again.
	AddAppPassword(ctx context.Context, login, name string) (password string, err error)
	// RevokeAppPassword makes one worthless and ends the login's mail sessions.
	RevokeAppPassword(ctx context.Context, login, name string) error
}

// Lists are about presence.
type Lists interface {
	Who(ctx context.Context) ([]Seen, error)
	Grants(ctx context.Context) ([]Granted, error)
	Hosts(ctx context.Context) ([]presence.Host, error)
}

// Mails is the mail store.
type Mails interface {
	mailstore.Importer
	Stats(ctx context.Context) (mailstore.Stats, error)
	Check(ctx context.Context, progress mailstore.Progress) (*mailstore.Report, error)
	// ExportMail writes accounts below a folder, all of them if none is named.
	ExportMail(ctx context.Context, x MailExport, progress mailstore.Progress) (MailExported, error)
}

// People are those who take part in conversations.
type People interface {
	// Rooms counts the conversations of a login or an address.
	Rooms(ctx context.Context, who string) (int, error)
	// Export writes what is kept of a person into a new folder.
	Export(ctx context.Context, who string, to Folder) (*Exported, error)
	// Erase takes a person out of all conversations.
	Erase(ctx context.Context, who string) (chat.Erased, error)
}

// Choice names blocks of the configuration, where there are several of a kind.
type Choice struct {
	Auth    string
	Storage string
}

// Seen is all that presence knows of a login.
type Seen struct {
	presence.Address
	Devices []presence.Device `json:"devices"`
	Grant   *presence.Grant   `json:"grant,omitempty"`
}

// Granted is a granted port and whether its relay host is alive.
type Granted struct {
	presence.Grant
	HostAlive bool `json:"host_alive"`
}

// MailExport says which accounts are exported, and how.
type MailExport struct {
	To     Folder   `json:"to"`
	Format string   `json:"format"` // maildir, or mbox (INBOX only)
	Logins []string `json:"logins"`
}

// MailExported is what ExportMail wrote.
type MailExported struct{ Accounts, Messages int }

// Exported is what Export wrote.
type Exported struct {
	Folder   string   `json:"folder"`
	Rooms    int      `json:"rooms"`
	Messages int      `json:"messages"` // the person's own
	Files    int      `json:"files"`
	Missing  int      `json:"missing"`            // files that are not in the folder of files
	Left     []string `json:"left_out,omitempty"` // in words
}

// The parts that an Owner works on. Each is asked for when it is needed.
type Parts interface {
	Accounts(name string) (Accounts, error)
	Mailboxes(name string) (Mailboxes, error)
	Mail(name string) (Mail, error)
	Rooms() (Rooms, error)
	Presence() (Presence, error)
	// Addresses are the domains and aliases; nil: the configuration has none.
	Addresses() (*addresses.Store, error)
	// Mall is the mall of the server that runs.
	Mall() (Mall, error)
	// Queue is the queue of outgoing mail.
	Queue() (Queue, error)
	// Door is the web server of the server that runs.
	Door() (Door, error)
	// Guard is the guard of the server that runs; the error wraps ErrNoGuard where there is none.
	Guard() (Guard, error)
	// Sessions are the parts where somebody can be signed in.
	Sessions() []Sessions
}

// Accounts keep the passwords; maddy's module.PlainUserDB is one. They may be
// AppPasswords, too.
type Accounts interface {
	ListUsers() ([]string, error)
	CreateUser(login, password string) error
	SetUserPassword(login, password string) error
	DeleteUser(login string) error
}

// Hashed is what Accounts may be as well: an account is made of the stored form of its
// password.
type Hashed interface {
	CreateHashed(ctx context.Context, login, stored string) error
}

// Mailboxes are made and removed with accounts; maddy's
// module.ManageableStorage is one.
type Mailboxes interface {
	ListIMAPAccts() ([]string, error)
	CreateIMAPAcct(login string) error
	DeleteIMAPAcct(login string) error
}

// Mail is a *mailstore.Store.
type Mail interface {
	mailstore.Importer
	Accounts() ([]string, error)
	Stats() (mailstore.Stats, error)
	Usage() (map[string]mailstore.Usage, error)
	QuotaOf(login string) int64
	Check(ctx context.Context, progress mailstore.Progress) (*mailstore.Report, error)
	Backup(ctx context.Context, dir string) error
	ExportMaildir(ctx context.Context, login, dir string, step func()) error
	ExportMbox(ctx context.Context, login, mailbox string, w io.Writer, step func()) error
}

// Rooms are the conversations; a *store.Store is them.
type Rooms interface {
	Settings(ctx context.Context, logins ...string) (map[string]chat.Settings, error)
	Blocks(ctx context.Context, login string) ([]chat.Block, error)
	Subscriptions(ctx context.Context, login string) ([]chat.Subscription, error)
	Memberships(ctx context.Context, who string) ([]chat.Membership, error)
	TeamNotes(ctx context.Context, login, roomID string) ([]chat.TeamNote, error)
	Info(ctx context.Context, room string) (chat.Info, error)
	Messages(ctx context.Context, room string, after int64, limit int) ([]chat.Message, error)
	Erase(ctx context.Context, who string) (chat.Erased, error)
	Revoke(ctx context.Context, token string) error
	Remove(ctx context.Context, by, room string, participant int64) error
	// BackupTo writes the database into a folder and returns the file's name;
	// "": it is not a file.
	BackupTo(ctx context.Context, dir string) (name string, err error)
}

// Presence is the part of a presence.Directory that changes nothing.
type Presence interface {
	Lookup(ctx context.Context, login string) (presence.Address, error)
	Addresses(ctx context.Context, limit int) ([]presence.Address, error)
	Devices(ctx context.Context, login string) ([]presence.Device, error)
	AllDevices(ctx context.Context, limit int) ([]presence.Device, error)
	GrantOf(ctx context.Context, login string) (presence.Grant, error)
	Grants(ctx context.Context, limit int) ([]presence.Grant, error)
	Hosts(ctx context.Context) ([]presence.Host, error)
}

// Sessions is where somebody can be signed in.
type Sessions interface {
	// SignOut ends all sessions of a login: with a new password, or without an
	// account, the old sign-ins no longer count.
	SignOut(ctx context.Context, login string) error
}

// shortTime bounds what only reads or writes a little.
const shortTime = 30 * time.Second
