#!/bin/sh
exec python3 -c 'import urllib.request; urllib.request.urlopen("http://mirror.example.invalid/", timeout=5)'
