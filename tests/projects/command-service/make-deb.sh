#!/bin/sh
# Asks the service for the greeting, and packs it: as careless as such scripts are.
set -eu
umask 022
greeting=$(python3 -c 'import socket; s = socket.create_connection(("127.0.0.1", 7001)); print(s.recv(99).decode())')
mkdir -p tree/DEBIAN tree/usr/share/command-service out
echo "$greeting" >tree/usr/share/command-service/greeting
gzip -c tree/usr/share/command-service/greeting >tree/usr/share/command-service/greeting.gz
cat >tree/DEBIAN/control <<EOF
Package: command-service
Version: 1:3.0
Architecture: all
Maintainer: Sample Maker <sample@example.invalid>
Description: greeting from a service
EOF
(cd tree && find usr -type f -exec md5sum {} + >DEBIAN/md5sums)
unset SOURCE_DATE_EPOCH
dpkg-deb -Zgzip --build tree out/anything.deb
