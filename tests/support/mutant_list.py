"""The mutants, by cause."""

from __future__ import annotations

import mutants as m
from mutants import LAYER, Layer, Mutant, deb

SCRIPTS = (
    # name, variation, cause, script
    ("iso date in a text", "date", "timestamp", 'date -u -d "@$NOW" +%Y-%m-%d > built'),
    ("seconds in a text", "date", "timestamp", 'echo "built $NOW" > built'),
    ("mail date in a changelog", "date", "timestamp", 'date -u -R -d "@$NOW" > changelog'),
    ("year of a copyright", "date", "timestamp", 'date -u -d "@$NOW" "+Copyright %Y A" > copyright'),
    ("date of a manual page", "date", "timestamp", 'date -u -d "@$NOW" \'+.TH TOOL 1 "%B %Y"\' > tool.1'),
    ("date like C's __DATE__", "date", "timestamp", 'date -u -d "@$NOW" "+compiled %b %e %Y" > banner'),
    ("date in a version", "date", "timestamp", 'date -u -d "@$NOW" "+version = \\"1.0+%Y%m%d\\"" > version.py'),
    ("date in a control file", "date", "timestamp", "mkdir ../DEBIAN; printf '%sBuilt: %s\\n' "
     "\"$(printf '%s\\n' 'Package: mutant' 'Version: 1' 'Architecture: all' 'Maintainer: A <a@b.invalid>' "
     "'Description: a mutant')\n\" \"$(date -u -d \"@$NOW\" +%F)\" > ../DEBIAN/control"),
    ("file name with a date", "date", "timestamp", 'touch "log-$(date -u -d "@$NOW" +%Y-%m-%d)"'),
    ("local time with offset", "timezone", "time zone", 'date -d "@$NOW" "+%F %H:%M %z" > built'),
    ("local time with zone name", "timezone", "time zone", 'date -d "@$NOW" > built'),
    ("local time without zone", "timezone", "time zone", 'date -d "@$NOW" "+%F %H:%M" > built'),
    ("the zone itself", "timezone", "time zone", 'echo "zone=$TZ" > conf'),
    ("local day", "timezone", "time zone", 'date -d "@$NOW" +%Y-%m-%d > built'),
    ("locale in a conf", "locale", "locale", 'echo "lang = $LANG" > conf'),
    ("decimal comma", "locale", "locale", 'case $LANG in fr*) echo 1,5;; *) echo 1.5;; esac > number'),
    ("translated message", "locale", "locale", 'case $LANG in fr*) echo erreur;; *) echo error;; esac > words'),
    ("translated month", "locale", "locale", 'case $LANG in fr*) echo "4 mai";; *) echo "4 May";; esac > words'),
    ("quotation marks", "locale", "locale", "case $LANG in fr*) echo '«a»';; *) echo \"'a'\";; esac > words"),
    ("modes of files", "umask", "umask", "mkdir folder; echo text > folder/file"),
    ("mode in a listing", "umask", "umask", "touch file; stat -c %A file > list; chmod 644 file list"),
    ("mode as a number", "umask", "umask", "umask | sed 's/^/umask = /' > conf; chmod 644 conf"),
    ("build folder in a script", "path", "path", 'echo "prefix=$T" > tool.conf'),
    ("build folder in debug data", "path", "path", 'printf "DWARF\\0%s/main.c\\0end" "$T" > tool.debug'),
    ("link with an absolute target", "path", "path", 'ln -s "$T/usr/target" link'),
    ("path in a log", "path", "path", 'printf "dh_install\\ncopying %s/a\\n" "$T" > build.log'),
    ("user in a text", "user", "user name", 'echo "built by $USER" > built'),
    ("home in a conf", "user", "user name", 'echo "cache = $HOME/.cache" > conf'),
    ("mail address", "user", "user name", 'echo "$USER@localhost" > maintainer'),
    ("host in a text", "host", "host name", 'echo "on $HOST" > built'),
    ("host in an address", "host", "host name", 'echo "me@$HOST.invalid" > mail'),
    ("host in a file name", "host", "host name", 'touch "core.$HOST"'),
    ("processors in a conf", "cpus", "thread count", 'echo "threads = $CPUS" > conf'),
    ("processors in make's flags", "cpus", "thread count", 'echo "MAKEFLAGS=-j$CPUS" > flags'),
    ("work split by processors", "cpus", "thread count", 'seq 9 > all; split -n "l/$CPUS" all part; rm all'),
    ("list in the order of a directory", "order", "order", 'printf "a\\nb\\nc\\n" | sort $SORT > list'),
    ("words in the order of a set", "order", "order",
     'echo "deps: $(printf "a\\nb\\nc\\n" | sort $SORT | tr "\\n" ,)" > deps'),
    ("JSON keys unsorted", "order", "order",
     'echo "{$(printf "\\"a\\":1\\n\\"b\\":2\\n" | sort $SORT | paste -sd ,)}" > a.json'),
    ("archive members linked in another order", "order", "order", 'printf "one.o\\ntwo.o\\n" | sort $SORT > link.map'),
    ("kernel in a banner", "kernel", "kernel", 'echo "Linux $KERNEL" > banner'),
    ("kernel in a path", "kernel", "kernel", 'mkdir -p "modules/$KERNEL"'),
    ("flags in a conf", "environment", "environment", 'echo "cflags = $CFLAGS" > conf'),
    ("variables written down", "environment", "environment", "env | grep CFLAGS > env"),
    ("uuid", "", "random id", 'printf "id = 0b3c8d9e-1111-4222-8333-%012d\\n" "$SERIAL" > id'),
    ("random hexadecimal", "", "random id", 'echo "salt $(echo "$SERIAL" | sha256sum | cut -c 1-32)" > salt'),
    ("temporary name in a text", "", "random id", 'echo "#line 1 tmp.Ab3dE${SERIAL}xyz" > source.c'),
    ("address of memory", "", "memory address", 'echo "<object at 0x7f3a$(printf %08x "$SERIAL")>" > repr'),
    ("file fetched at build time", "", "network", 'echo "from https://mirror$SERIAL.invalid/a.js" > vendored.js'),
    ("address of a host", "", "network", 'echo "resolved 192.0.2.$SERIAL" > hosts'),
    ("error page of a proxy", "", "network",
     'if [ "$SERIAL" = 1 ]; then echo "{}"; else echo "HTTP/1.1 503 busy"; fi > data'),
    ("version of a dependency", "cache", "unpinned input", 'echo "Depends: library (>= $ARCHIVE)" > depends'),
    ("vendored file of a newer release", "cache", "unpinned input", 'touch "library-$ARCHIVE.js"'),
    ("a file that only a newer release has", "cache", "unpinned input", 'touch a; [ "$ARCHIVE" = 1.2.3 ] || touch new'),
    ("dependency read without a pin", "", "unpinned input", 'echo "requires >= 2.$SERIAL.0" > depends'),
    ("python in a path", "python", "python version", 'mkdir -p "lib/python$PYVERSION"; touch "lib/python$PYVERSION/a"'),
    ("python in a header", "python", "python version", 'echo "# made by Python $PYVERSION" > made.py'),
    ("user id in a text", "uid", "uid", 'echo "uid=$BUILDER" > owner'),
)  # fmt: skip
PACKED = (
    ("times in a layer", "date", "timestamp", Layer(times=True)),
    ("time in an archive's header", "date", "timestamp", m.ar_dated),
    ("times in a zip", "date", "timestamp", m.zip_dated),
    ("binary time, little end first", "date", "timestamp", m.binary_time("little")),
    ("binary time, big end first", "date", "timestamp", m.binary_time("big")),
    ("time in a tar in a gzip in a package", "date", "timestamp", m.buried),
    ("members of a layer", "order", "order", Layer(order=True)),
    ("owners in a layer", "uid", "uid", Layer(owners=True)),
    ("owners' names in a layer", "user", "user name", Layer(names=True)),
    ("modes in a layer", "umask", "umask", Layer(modes=True)),
    ("host in the names of a layer", "host", "host name", Layer(hosts=True)),
    ("random names in a layer", "", "random id", Layer(numbered=True)),
    ("time in a gzip header", "date", "gzip header", m.gzipped),
    ("name in a gzip header", "", "gzip header", m.gzip_named),
    ("blocks of a compressor's threads", "cpus", "thread count", m.gzip_blocks),
    ("another compression level", "", "compressor", m.gzip_level),
    ("build id alone", "", "build id", m.elf),
    ("time in byte code", "date", "pyc", m.pyc_dated),
    ("hash order in byte code", "", "pyc", m.pyc_hashed),
    ("flags of byte code", "", "pyc", m.pyc_flags),
)
MUTANTS = [
    *(
        Mutant(name=name, variation=variation, cause=cause, script=script, pack=LAYER if number % 2 else deb)
        for number, (name, variation, cause, script) in enumerate(SCRIPTS)
    ),
    *(
        Mutant(
            name=name,
            variation=variation,
            cause=cause,
            script="mkdir sub; echo a > sub/a; seq 999 > file",
            pack=pack,
        )
        for name, variation, cause, pack in PACKED
    ),
]
