#!/bin/sh
# In the place of kvfs, for mount.sh: kvfs with the options that every mount of a run shall have.
exec "$KVFS_BIN" -o "$KVFS_TEST_OPTIONS" "$@"
