#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# bench/mail.sh [ROUNDS]: mail into mailboxes and out of them, CHmail against
# stock maddy and against Postfix with Dovecot, alternating in one run.
#
# It builds chmaild, maddy and the load program from this module, starts every
# server on ports of its own with its data below WORK (default: a new folder in
# /var/tmp; not a tmpfs, or nothing is synced), and prints tables of medians and
# ranges. Postfix and Dovecot come from Debian (apt install postfix
# dovecot-lmtpd dovecot-pop3d) and need root; without them their rows are left
# out. Environment: COUNT (messages a round, 5000), BOXES (mailboxes, 100), FILL
# (messages in a mailbox that POP3 reads, 1000, or COUNT where that is less),
# STORED (messages of the store that is opened, 1000000), ONLY (a regular
# expression of the parts to run: smtp submit flat pop3 signin memory open), CHMAILD (a
# program that was built before).
set -eu
cd "$(dirname "$0")/.."
ROUNDS=${1:-5}
COUNT=${COUNT:-5000}
BOXES=${BOXES:-100}
FILL=${FILL:-$((COUNT < 1000 ? COUNT : 1000))}
STORED=${STORED:-1000000}
ONLY=${ONLY:-smtp|submit|flat|pop3|signin|memory|open}
WORK=${WORK:-$(mktemp -d /var/tmp/chmail-bench-XXXXXX)}
BIN=$WORK/bin
HERE=$PWD
mkdir -p "$BIN"
PIDS=()

finish() {
	for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
	[ -f "$WORK/peer/postfix/main.cf" ] && postfix -c "$WORK/peer/postfix" stop 2>/dev/null || true
	[ -f "$WORK/peer/dovecot.pid" ] && kill "$(cat "$WORK/peer/dovecot.pid")" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$WORK"
}
trap finish EXIT

if [ -n "${CHMAILD:-}" ]; then cp "$CHMAILD" "$BIN/chmaild"; else go build -o "$BIN/chmaild" ./cmd/chmaild; fi
go build -o "$BIN/maddy" github.com/foxcpp/maddy/cmd/maddy
go build -o "$BIN/load" ./bench/mail
# Every login has the password `bench`, with the cheapest of hashes, so that
# sign-ins measure the server and not bcrypt.
HASH=$("$BIN/load" -mode hash)
# Submission is measured with the hash that accounts have.
BCRYPT=$("$BIN/load" -mode bcrypt)
# One certificate for all, with its key in the same file.
CERT=$WORK/cert.pem
(umask 077 && "$BIN/load" -mode cert > "$CERT")

until_up() { # PORT
	for _ in $(seq 200); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
		sleep 0.05
	done
	echo "nothing listens on port $1" >&2
	return 1
}

# --- the servers: NAME_start DIR, listening for SMTP on $SMTP, POP3 on $POP3 ---

maddy_conf() { # DIR STORAGE-BLOCK POP3-BLOCK [SMTP-DIRECTIVE]
	cat <<-CONF
	state_dir $1
	runtime_dir $1/run
	hostname bench.test
	tls off
	log $1/log
	auth.$([ "$1" = "$WORK/maddy" ] && echo pass_table || echo accounts) accounts {
	    table regexp "(.+)" "$HASH"
	}
	$2
	smtp tcp://127.0.0.1:$SMTP {
	    dmarc no
	    max_message_size 64M
	    ${4:-}
	    deliver_to &mailboxes
	}
	$3
	CONF
}

chmail_start() {
	SMTP=$((PORT + 1)) POP3=$((PORT + 2))
	mkdir -p "$1/run"
	maddy_conf "$1" "storage.maildrop mailboxes { }" "pop3 tcp://127.0.0.1:$POP3 {
	    tls file $CERT $CERT
	    insecure_auth yes
	    max_connections_per_ip 10000
	    auth &accounts
	    storage &mailboxes
	}" "max_transactions 100000000" | sed 's/^smtp tcp/chmail.smtp tcp/' > "$1/conf"
	"$BIN/chmaild" --config "$1/conf" run >/dev/null 2>&1 &
	SERVER=$!
	PIDS+=("$SERVER")
	until_up $SMTP
	# INBOXes are made by their first sign-in.
	"$BIN/load" -mode logins -addr "127.0.0.1:$POP3" -conns 10 -count "$BOXES" -boxes "$BOXES" > /dev/null
}

# A whole server as the quickstart writes it, with the hash that accounts have.
submit_start() {
	SMTP=$((PORT + 1)) POP3=$((PORT + 2))
	mkdir -p "$1/run"
	cat > "$1/conf" <<-CONF
	state_dir $1
	runtime_dir $1/run
	hostname bench.test
	tls file $CERT $CERT
	log $1/log
	auth.pass_table accounts {
	    table regexp "(.+)" "bcrypt:$(sed 's/\$/$$/g' <<< "$BCRYPT")"
	}
	auth.guard sign_in {
	    auth &accounts
	}
	storage.maildrop mailboxes { }
	presence.local presence {
	    path presence.db
	    ports 20000-29999
	}
	chat.rooms rooms {
	    database sqlite:rooms.db
	    local_domains bench.test
	}
	chmail.submission tcp://127.0.0.1:$SMTP {
	    max_connections_per_ip 10000
	    sent_messages 100000000
	    sent_recipients 100000000
	    auth &sign_in
	    default_destination {
	        deliver_to &stamp
	    }
	}
	target.chmail stamp {
	    presence &presence
	    rooms &rooms
	    link https://bench.test
	    copies_at_once 8
	    deliver_to &outgoing
	}
	msgpipeline outgoing {
	    modify {
	        dkim {
	            domains bench.test
	            selector default
	            oversign_fields Subject Sender To Cc From Date MIME-Version Content-Type Content-Transfer-Encoding Reply-To In-Reply-To Message-Id References Autocrypt Openpgp CHmail-Login CHmail-Host CHmail-Port CHmail-Chat
	        }
	    }
	    destination bench.test {
	        deliver_to &mailboxes
	    }
	    default_destination {
	        reject 550 5.1.1 "No such address here"
	    }
	}
	pop3 tcp://127.0.0.1:$POP3 {
	    insecure_auth yes
	    max_connections_per_ip 10000
	    auth &easy
	    storage &mailboxes
	}
	auth.pass_table easy {
	    table regexp "(.+)" "$HASH"
	}
	CONF
	"$BIN/chmaild" --config "$1/conf" run >/dev/null 2>&1 &
	SERVER=$!
	PIDS+=("$SERVER")
	until_up $SMTP
	"$BIN/load" -mode logins -addr "127.0.0.1:$POP3" -conns 10 -count "$BOXES" -boxes "$BOXES" > /dev/null
}

maddy_start() {
	SMTP=$((PORT + 1))
	mkdir -p "$1/run"
	maddy_conf "$1" "storage.imapsql mailboxes {
	    driver sqlite3
	    dsn imapsql.db
	}" "imap tcp://127.0.0.1:$((PORT + 2)) {
	    insecure_auth yes
	    auth &accounts
	    storage &mailboxes
	}" > "$1/conf"
	for ((i = 0; i < BOXES; i++)); do "$BIN/maddy" --config "$1/conf" imap-acct create --cfg-block mailboxes --no-specialuse "u$i@bench.test" >/dev/null; done
	"$BIN/maddy" --config "$1/conf" run >/dev/null 2>&1 &
	SERVER=$!
	PIDS+=("$SERVER")
	until_up $SMTP
}

stop_server() {
	kill "$SERVER"
	wait "$SERVER" 2>/dev/null || true
}

have_peer() { [ "$(id -u)" = 0 ] && [ -x /usr/sbin/postfix ] && [ -x /usr/sbin/dovecot ]; }

# Postfix hands over to Dovecot by LMTP; both run with folders of their own.
peer_start() {
	SMTP=$((PORT + 1)) POP3=$((PORT + 2))
	local d=$1 p=$1/postfix
	mkdir -p "$p" "$d/queue" "$d/data" "$d/run" "$d/mail"
	chown postfix "$d/data"
	chown -R mail:mail "$d/mail"
	chmod 755 "$WORK" "$d" "$d/run"
	cat > "$d/dovecot.conf" <<-CONF
	base_dir = $d/run
	state_dir = $d/run
	instance_name = chmail-bench
	log_path = $d/dovecot.log
	protocols = pop3 lmtp
	ssl = yes
	ssl_cert = <$CERT
	ssl_key = <$CERT
	disable_plaintext_auth = no
	mail_location = maildir:$d/mail/%u
	first_valid_uid = 1
	auth_username_format = %Lu
	passdb {
	  driver = passwd-file
	  args = scheme=BLF-CRYPT $d/users
	}
	passdb {
	  driver = static
	  args = password=bench
	}
	service auth {
	  unix_listener bench-auth {
	    mode = 0666
	  }
	}
	userdb {
	  driver = static
	  args = uid=mail gid=mail home=$d/mail/%u allow_all_users=yes
	}
	service lmtp {
	  unix_listener bench-lmtp {
	    mode = 0666
	  }
	}
	service pop3-login {
	  inet_listener pop3 {
	    address = 127.0.0.1
	    port = $POP3
	  }
	  inet_listener pop3s {
	    port = 0
	  }
	  client_limit = 2000
	  process_limit = 2000
	}
	service pop3 {
	  process_limit = 2000
	}
	service anvil {
	  client_limit = 5000
	}
	service auth {
	  client_limit = 5000
	}
	mail_max_userip_connections = 0
	protocol pop3 {
	  mail_max_userip_connections = 0
	}
	CONF
	# With a hash of its own, a login is not asked for in the static passdb first.
	for ((i = 0; i < ${HASHED:-0}; i++)); do echo "u$i@bench.test:{BLF-CRYPT}$BCRYPT"; done > "$d/users"
	chmod 644 "$d/users"
	dovecot -c "$d/dovecot.conf"
	ln -sf "$d/run/master.pid" "$d/dovecot.pid"
	sed -e "s/^smtp  *inet.*/127.0.0.1:$SMTP inet n - n - - smtpd/" -e 's/^\(lmtp .* unix .* .* \)y /\1n /' \
		/usr/share/postfix/master.cf.dist > "$p/master.cf"
	cat > "$p/main.cf" <<-CONF
	compatibility_level = 3.6
	queue_directory = $d/queue
	data_directory = $d/data
	maillog_file = /var/log/chmail-bench-postfix.log
	multi_instance_name = chmail-bench
	myhostname = bench.test
	mydestination =
	mynetworks = 127.0.0.0/8
	inet_interfaces = 127.0.0.1
	inet_protocols = ipv4
	virtual_mailbox_domains = bench.test
	virtual_mailbox_maps = static:all
	virtual_transport = lmtp:unix:$d/run/bench-lmtp
	smtpd_client_connection_count_limit = 0
	smtpd_error_sleep_time = 0
	default_process_limit = 100
	local_recipient_maps =
	smtpd_tls_security_level = may
	smtpd_tls_cert_file = $CERT
	smtpd_tls_key_file = $CERT
	smtpd_sasl_auth_enable = yes
	smtpd_sasl_type = dovecot
	smtpd_sasl_path = $d/run/bench-auth
	CONF
	postfix -c "$p" start 2>/dev/null
	until_up $SMTP
	until_up $POP3
}

peer_stop() {
	postfix -c "$1/postfix" stop 2>/dev/null || true
	kill "$(cat "$1/run/master.pid")" 2>/dev/null || true
	sleep 1
}

load() { "$BIN/load" "$@"; }
field() { grep -o "\"$1\":[0-9.e+-]*" | cut -d: -f2; }

# median and range of the numbers in a file
sum_up() {
	sort -g "$1" | awk '{ v[NR] = $1 } END { if (NR == 0) { print "-"; exit }
		m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
		f = m < 20 ? "%.1f (%.1f–%.1f)\n" : "%.0f (%.0f–%.0f)\n"
		printf f, m, v[1], v[NR] }'
}

median() { sum_up "$1" | cut -d' ' -f1; }

note() { # FILE VALUE
	mkdir -p "$WORK/out"
	echo "$2" >> "$WORK/out/$1"
}

PORT=21000
PEERS="chmail maddy"
have_peer && PEERS="$PEERS peer"
title() { case $1 in chmail) echo CHmail;; maddy) echo "maddy 0.8.2";; peer) echo "Postfix + Dovecot";; esac; }

pop_title() { case $1 in chmail) echo CHmail;; peer) echo Dovecot;; esac; }

# Mail that Postfix took is delivered when it lies in Dovecot's mailboxes.
peer_arrived() { find "$1/mail" -path '*/new/*' -type f 2>/dev/null | wc -l; }

smtp_run() { # PEER SIZE CONNS COUNT -> notes rate and p99
	local d=$WORK/$1 peer=$1 key=smtp-$1-$2-$3 out
	if [ "$peer" = peer ]; then
		local before after start
		before=$(peer_arrived "$WORK/peer")
		start=$(date +%s.%N)
		out=$(load -mode smtp -addr "127.0.0.1:$PEER_SMTP" -size "$2" -conns "$3" -count "$4" -boxes "$BOXES")
		while after=$(peer_arrived "$WORK/peer"); [ $((after - before)) -lt "$4" ]; do sleep 0.2; done
		note "$key-rate" "$(echo "$4 / ($(date +%s.%N) - $start)" | bc -l)"
	else
		out=$(load -mode smtp -addr "127.0.0.1:$SMTP" -size "$2" -conns "$3" -count "$4" -boxes "$BOXES")
		note "$key-rate" "$(echo "$out" | field rate)"
	fi
	note "$key-p99" "$(echo "$out" | field p99_ms)"
	note "$key-errors" "$(echo "$out" | field errors)"
}

# A server is started on an empty store, used, and its folder renamed: removing
# many files would slow the file system for the next one.
fresh() { # PEER
	[ -e "$WORK/$1" ] && mv "$WORK/$1" "$WORK/old-$1-$RANDOM$RANDOM"
	mkdir -p "$WORK/$1"
	PORT=$((PORT + 10))
	"$1_start" "$WORK/$1"
	[ "$1" = peer ] && PEER_SMTP=$SMTP
	return 0
}

stop() { if [ "$1" = peer ]; then peer_stop "$WORK/peer"; else stop_server; fi; }

echo "CHmail mail benchmark: $(nproc) processors, $ROUNDS rounds, $COUNT messages a round over $BOXES mailboxes, $(date -u +%F)"

if [[ smtp =~ ^($ONLY)$ ]]; then
	for ((round = 1; round <= ROUNDS; round++)); do
		for peer in $PEERS; do
			n=$COUNT
			[ "$peer" = peer ] && n=$((COUNT / 4))
			fresh "$peer"
			smtp_run "$peer" 4096 10 "$n"
			smtp_run "$peer" 4096 50 "$n"
			smtp_run "$peer" 65536 10 $((n / 4))
			stop "$peer"
		done
	done
	echo
	echo "SMTP into mailboxes, messages a second: median (range)"
	echo
	echo "| | 4 KiB, 10 connections | 4 KiB, 50 connections | its p99, ms | 64 KiB, 10 connections | errors |"
	echo "|---|---|---|---|---|---|"
	for peer in $PEERS; do
		k=$WORK/out/smtp-$peer
		echo "| $(title "$peer") | $(sum_up "$k-4096-10-rate") | $(sum_up "$k-4096-50-rate") | $(sum_up "$k-4096-50-p99") | $(sum_up "$k-65536-10-rate") | $(cat "$k"-*-errors | paste -sd+ | bc) |"
	done
fi

# Submission over STARTTLS with a sign-in; each message is delivered to mailboxes
# here. Postfix signs nothing, CHmail signs every copy (DKIM, RSA with 2048 bits).
if [[ submit =~ ^($ONLY)$ ]]; then
	submitted() { # KEY COUNT RCPTS ARGS: one measurement
		local key=submit-$1 n=$2 k=$3 out before start; shift 3
		[[ $key == *peer* ]] && before=$(peer_arrived "$WORK/peer") && start=$(date +%s.%N)
		out=$(load -mode submit -addr "127.0.0.1:$SMTP" -conns 10 -count "$n" -boxes "$BOXES" -rcpts "$k" "$@")
		if [[ $key == *peer* ]]; then
			while [ $(($(peer_arrived "$WORK/peer") - before)) -lt $((n * k)) ]; do sleep 0.2; done
			note "$key" "$(echo "$n / ($(date +%s.%N) - $start)" | bc -l)"
		else
			note "$key" "$(echo "$out" | field rate)"
		fi
		note "submit-errors" "$(echo "$out" | field errors)"
	}
	for ((round = 1; round <= ROUNDS; round++)); do
		fresh submit
		load -mode submit -addr "127.0.0.1:$SMTP" -conns 10 -count 200 -boxes "$BOXES" > /dev/null # warms up
		for k in 1 3; do
			for twice in 1 2; do
				submitted "yes-$k" $((COUNT / 2)) $k
				submitted "no-$k" $((COUNT / 2)) $k -stamped=false
			done
		done
		# The first sign-in of each login hashes its password, the others do not.
		load -mode submit -addr "127.0.0.1:$SMTP" -conns 10 -count "$BOXES" -boxes "$BOXES" -anew > /dev/null
		submitted yes-anew $((COUNT / 5)) 1 -anew
		submitted no-anew $((COUNT / 5)) 1 -anew -stamped=false
		stop submit
		if have_peer; then
			HASHED=$BOXES fresh peer
			for k in 1 3; do submitted "peer-$k" $((COUNT / 4)) $k; done
			submitted peer-anew $((COUNT / 20)) 1 -anew
			stop peer
		fi
	done
	echo
	echo "Submission of 4 KiB over STARTTLS, 10 connections, messages a second: median (range)"
	echo
	echo "| | one recipient | three recipients | one, a new connection and sign-in each |"
	echo "|---|---|---|---|"
	echo "| CHmail, stamped | $(sum_up "$WORK/out/submit-yes-1") | $(sum_up "$WORK/out/submit-yes-3") | $(sum_up "$WORK/out/submit-yes-anew") |"
	echo "| CHmail, unstamped | $(sum_up "$WORK/out/submit-no-1") | $(sum_up "$WORK/out/submit-no-3") | $(sum_up "$WORK/out/submit-no-anew") |"
	have_peer && echo "| Postfix + Dovecot | $(sum_up "$WORK/out/submit-peer-1") | $(sum_up "$WORK/out/submit-peer-3") | $(sum_up "$WORK/out/submit-peer-anew") |"
	echo
	echo "Errors: $(paste -sd+ "$WORK/out/submit-errors" | bc)"
fi

if [[ flat =~ ^($ONLY)$ ]]; then
	# Two mailboxes, so that they fill: the rate at the start and when each has 100,000.
	fresh chmail
	FULL=${FULL:-100000}
	for ((round = 1; round <= ROUNDS; round++)); do
		note flat-0 "$(load -mode smtp -addr "127.0.0.1:$SMTP" -conns 10 -count "$COUNT" -boxes 2 -first $((10 + 2 * round)) | field rate)"
	done
	load -mode smtp -addr "127.0.0.1:$SMTP" -conns 50 -size 300 -count $((2 * FULL)) -boxes 2 > /dev/null
	for ((round = 1; round <= ROUNDS; round++)); do
		note flat-0 "$(load -mode smtp -addr "127.0.0.1:$SMTP" -conns 10 -count "$COUNT" -boxes 2 -first $((40 + 2 * round)) | field rate)"
		note flat-full "$(load -mode smtp -addr "127.0.0.1:$SMTP" -conns 10 -count "$COUNT" -boxes 2 | field rate)"
	done
	note flat-stat "$(load -mode logins -addr "127.0.0.1:$POP3" -conns 1 -count 200 -boxes 2 | field p50_ms)"
	note flat-empty "$(load -mode logins -addr "127.0.0.1:$POP3" -conns 1 -count 200 -boxes 2 -first 90 | field p50_ms)"
	stop chmail
	echo
	echo "CHmail, 4 KiB into two mailboxes over 10 connections: $(sum_up "$WORK/out/flat-0") a second when they are empty, $(sum_up "$WORK/out/flat-full") at $FULL messages each."
	echo "A POP3 session from connect to QUIT: $(cat "$WORK/out/flat-empty") ms with an empty mailbox, $(cat "$WORK/out/flat-stat") ms at $FULL messages."
fi

if [[ pop3 =~ ^($ONLY)$ ]]; then
	POPS="chmail"
	have_peer && POPS="$POPS peer"
	for peer in $POPS; do
		fresh "$peer"
		eval "${peer}_SMTP=$SMTP ${peer}_POP3=$POP3 ${peer}_PID=${SERVER:-0}"
		for box in 0 1 2 3 4 5 6 7 8 9; do # u0–u9 have messages of 4 KiB, u20–u29 of 64 KiB
			load -mode smtp -addr "127.0.0.1:$SMTP" -conns 10 -count "$FILL" -boxes 1 -first $box > /dev/null
			load -mode smtp -addr "127.0.0.1:$SMTP" -conns 10 -count "$FILL" -size 65536 -boxes 1 -first $((20 + box)) > /dev/null
		done
		[ "$peer" = peer ] && while [ "$(peer_arrived "$WORK/peer")" -lt $((20 * FILL)) ]; do sleep 0.5; done
	done
	for ((round = 0; round <= ROUNDS; round++)); do # round 0 warms both up
		for peer in $POPS; do
			port=${peer}_POP3
			run() { # KEY FIELD ARGS: one measurement
				local key=$1 what=$2 out; shift 2
				out=$(load -addr "127.0.0.1:${!port}" "$@")
				[ "$round" = 0 ] || note "pop3-$peer-$key" "$(echo "$out" | field "$what")"
				note "pop3-$peer-errors" "$(echo "$out" | field errors)"
			}
			n=2000; [ "$peer" = peer ] && n=300
			run logins rate -mode logins -conns 20 -count $n -boxes 20 -first 50
			run list p50_ms -mode list -conns 1 -count 30 -boxes 10
			for secure in "" -stls; do
				for how in "" -pipeline; do
					run "retr-4-1$how$secure" MBps -mode retr -conns 1 -count 10 -boxes 10 $how $secure
					run "retr-4-10$how$secure" MBps -mode retr -conns 10 -count 40 -boxes 10 $how $secure
					run "retr-64-1$how$secure" MBps -mode retr -conns 1 -count 3 -boxes 10 -first 20 $how $secure
					run "retr-64-10$how$secure" MBps -mode retr -conns 10 -count 10 -boxes 10 -first 20 $how $secure
				done
			done
		done
	done
	echo
	echo "POP3, mailboxes of $FILL messages: median (range)"
	echo
	echo "| | logins a second, 20 sessions | STAT+UIDL+LIST, ms | errors in all |"
	echo "|---|---|---|---|"
	for peer in $POPS; do
		k=$WORK/out/pop3-$peer
		echo "| $(pop_title "$peer") | $(sum_up "$k-logins") | $(sum_up "$k-list") | $(paste -sd+ "$k-errors" | bc) |"
	done
	for secure in "" -stls; do
		echo
		echo "RETR of all, $([ -n "$secure" ] && echo "after STLS" || echo plain), MB/s"
		echo
		echo "| | 4 KiB, 1 session | 1, pipelined | 10 sessions | 10, pipelined | 64 KiB, 1 session | 1, pipelined | 10 sessions | 10, pipelined |"
		echo "|---|---|---|---|---|---|---|---|---|"
		keys="4-1 4-1-pipeline 4-10 4-10-pipeline 64-1 64-1-pipeline 64-10 64-10-pipeline"
		for peer in $POPS; do
			row="| $(pop_title "$peer") |"
			for key in $keys; do row="$row $(sum_up "$WORK/out/pop3-$peer-retr-$key$secure") |"; done
			echo "$row"
		done
		have_peer || continue
		row="| times Dovecot |"
		for key in $keys; do
			row="$row $(echo "$(median "$WORK/out/pop3-chmail-retr-$key$secure") $(median "$WORK/out/pop3-peer-retr-$key$secure")" | awk '{ printf "%.1f", $1 / $2 }') |"
		done
		echo "$row"
	done
	SERVER=$chmail_PID
	[ -d "$WORK/peer" ] && stop peer
	stop chmail
fi

if [[ signin =~ ^($ONLY)$ ]]; then
	# 1,000 accounts poll in turn over 50 connections, each with a connection of its
	# own. In the first turn after a start no password has been verified (cold).
	# The dollar signs of a hash are doubled for the table of regular expressions.
	BOXES=1000 fresh chmail
	for kind in argon2id bcrypt; do
		hash=$(load -mode $kind | sed 's/^\$/bcrypt:$/; s/\$/$$/g')
		for ((round = 1; round <= ROUNDS; round++)); do
			stop chmail
			sed -i "/table regexp/c table regexp \"(.+)\" \"$hash\"" "$WORK/chmail/conf"
			"$BIN/chmaild" --config "$WORK/chmail/conf" run >/dev/null 2>&1 &
			SERVER=$!
			PIDS+=("$SERVER")
			until_up "$POP3"
			for turn in cold warm; do
				out=$(load -mode logins -addr "127.0.0.1:$POP3" -conns 50 -boxes 1000 \
					-count $([ $turn = cold ] && echo 1000 || echo 20000))
				note "signin-$kind-$turn" "$(echo "$out" | field rate)"
				note "signin-$kind-$turn-p99" "$(echo "$out" | field p99_ms)"
				note "signin-errors" "$(echo "$out" | field errors)"
			done
		done
	done
	stop chmail
	echo
	echo "POP3 sign-ins a second, connect to QUIT, 1,000 accounts in turn over 50 connections: median (range)"
	echo
	echo "| | cold | its p99, ms | warm | its p99, ms |"
	echo "|---|---|---|---|---|"
	for kind in argon2id bcrypt; do
		k=$WORK/out/signin-$kind
		echo "| $kind | $(sum_up "$k-cold") | $(sum_up "$k-cold-p99") | $(sum_up "$k-warm") | $(sum_up "$k-warm-p99") |"
	done
	echo
	echo "Errors: $(paste -sd+ "$WORK/out/signin-errors" | bc)"
fi

if [[ memory =~ ^($ONLY)$ ]]; then
	resident() { awk '/VmRSS/ { all = $2 } /RssFile/ { file = $2 } END { printf "%.1f MB (%.1f of them the program)", all / 1024, file / 1024 }' "/proc/$1/status"; }
	BOXES=1000
	fresh chmail
	stop chmail
	# As after a boot: what the linker has just written lies in memory in pieces
	# of 2 MB, of which a process is mapped the whole, whatever it uses of it.
	sync "$BIN/chmaild"
	dd if="$BIN/chmaild" iflag=nocache count=0 status=none
	BOXES=100 SMTP=$((PORT + 1)) POP3=$((PORT + 2))
	"$BIN/chmaild" --config "$WORK/chmail/conf" run >/dev/null 2>&1 &
	SERVER=$!
	PIDS+=("$SERVER")
	until_up $POP3
	sleep 1
	before=$(resident "$SERVER")
	load -mode idle -addr "127.0.0.1:$POP3" -conns 1000 -count 1000 -boxes 1000 -hold 18s > /dev/null &
	holding=$!
	sleep 15 # idle
	during=$(resident "$SERVER")
	wait $holding
	stop_server
	echo
	echo "CHmail, resident memory: $before after the start, $during with 1,000 signed-in POP3 sessions."
fi

if [[ open =~ ^($ONLY)$ ]]; then
	echo
	CHMAIL_STORE_MESSAGES=$STORED TMPDIR=$WORK go test -count 1 -timeout 60m -run 'TestOpenLarge$' -v ./mailstore | grep -E 'messages|FAIL'
fi
