#!/bin/sh
# Gathers what a service's image holds: usage collect.sh SERVICE DIRECTORY
set -eu
service=$1
out=$2
binary=build/release/bin/$service
mkdir -p "$out/bin" "$out/etc/ssl/certs" "$out/etc/octroi" "$out/usr/lib/ssl" "$out/tmp" "$out/var/lib/octroi/journal" "$out/run/octroi"
cp "$binary" "$out/bin/$service"
strip --strip-unneeded "$out/bin/$service"
# The libraries by their real paths, the loader among them, and libgcc_s, which pthread_exit loads when it is needed.
ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$out$(dirname "$library")"
    cp -L "$library" "$out$library"
done
for library in $(ls /lib/*-linux-gnu/libgcc_s.so.1); do
    mkdir -p "$out$(dirname "$library")"
    cp -L "$library" "$out$library"
done
# OpenSSL's own path leads to the bundle.
cp /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/ca-certificates.crt"
ln -sfn /etc/ssl/certs "$out/usr/lib/ssl/certs"
ln -sfn /etc/ssl/certs/ca-certificates.crt "$out/usr/lib/ssl/cert.pem"
echo 'octroi:x:10001:10001::/:/' >"$out/etc/passwd"
echo 'octroi:x:10001:' >"$out/etc/group"
echo 'hosts: files dns' >"$out/etc/nsswitch.conf"
chmod 1777 "$out/tmp"
# Volumes take their owner from here.
chown -R 10001:10001 "$out/var/lib/octroi" "$out/run/octroi"
