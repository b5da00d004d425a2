#!/bin/sh
set -eu
mkdir -p tree/DEBIAN tree/usr/share/command-dated
date +%s.%N >tree/usr/share/command-dated/built
hostname >tree/usr/share/command-dated/host
echo same >tree/usr/share/command-dated/same
printf 'Package: command-dated\nVersion: 1\nArchitecture: all\nMaintainer: S <s@example.invalid>\nDescription: d\n' >tree/DEBIAN/control
chmod -R go-w tree
dpkg-deb --build tree dated.deb
