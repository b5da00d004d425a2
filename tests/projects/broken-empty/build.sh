#!/bin/sh
set -e
mkdir -p t/DEBIAN
printf 'Package: e\nVersion: 1\nArchitecture: all\nMaintainer: S <s@example.invalid>\nDescription: d\n' >t/DEBIAN/control
sed -i 's/: e$/: ee/' t/DEBIAN/control
chmod -R go-w t
dpkg-deb --build t e.deb
