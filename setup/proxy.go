// SPDX-License-Identifier: GPL-3.0-or-later

package setup

import "strings"

// Proxies are pieces of configuration for proxies on this machine that end TLS of the pages.
// docs/install.md has the same.
func Proxies(host, domain string) string {
	return strings.NewReplacer("chat.mall.example", host, "mall.example", domain).Replace(proxies)
}

const proxies = `# nginx: /etc/nginx/conf.d/chmail.conf, with a certificate of its own for the four names
map $http_upgrade $chmail_upgrade { default upgrade; "" close; }
server {
    listen 80;
    listen [::]:80;
    server_name chat.mall.example mta-sts.mall.example autoconfig.mall.example autodiscover.mall.example;
    location /.well-known/acme-challenge/ {
        proxy_pass http://127.0.0.1:8080;
        proxy_set_header Host $host;
    }
    location / { return 308 https://$host$request_uri; }
}
server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name chat.mall.example mta-sts.mall.example autoconfig.mall.example autodiscover.mall.example;
    ssl_certificate     /etc/ssl/pages.pem;
    ssl_certificate_key /etc/ssl/pages.key;
    client_max_body_size 64m;
    location / {
        proxy_pass http://127.0.0.1:8080;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_read_timeout 1h;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $chmail_upgrade;
    }
}
# The same once more for www.mall.example, the mall, at http://127.0.0.1:8081.

# Caddy: Caddyfile
http://chat.mall.example {
    reverse_proxy /.well-known/acme-challenge/* 127.0.0.1:8080
    redir https://{host}{uri} 308
}
https://chat.mall.example, mta-sts.mall.example, autoconfig.mall.example, autodiscover.mall.example {
    reverse_proxy 127.0.0.1:8080
}
www.mall.example {
    reverse_proxy 127.0.0.1:8081
}

# HAProxy: /etc/haproxy/haproxy.cfg
frontend plain
    mode http
    bind :::80 v4v6
    http-request redirect scheme https code 308 unless { path_beg /.well-known/acme-challenge/ }
    default_backend chmail
frontend pages
    mode http
    bind :::443 v4v6 ssl crt /etc/haproxy/pages.pem alpn h2,http/1.1
    option forwardfor
    timeout client 1h
    use_backend mall if { hdr(host) -i www.mall.example }
    default_backend chmail
backend chmail
    mode http
    timeout server 1h
    timeout tunnel 1h
    server chmail 127.0.0.1:8080
backend mall
    mode http
    timeout server 1h
    server mall 127.0.0.1:8081
`
