#!/bin/sh
echo text >text.deb
