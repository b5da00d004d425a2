#!/bin/sh
echo working
nosuchtool --flag
