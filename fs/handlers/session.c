#include "fs/handlers/session.h"

#include "fs/base/errorlog.h"
#include "fs/base/ledger.h"
#include "fs/content/writeback.h"
#include "fs/control/control.h"
#include "fs/handlers/ops.h"
#include "fs/names/listing.h"

#include <errno.h>

static void session_free_parts(struct fs *fs)
{
    if (fs->session != NULL)
        fuse_session_destroy(fs->session);
    if (fs->nodes != NULL)
        fs_nodes_free(fs);
    fs_ledger_free(fs->users);
    fs_ledger_free(fs->accounts);
    fs_error_log_free(fs->error_log);
}

int fs_session_start(struct fs *fs, struct fuse_args *args)
{
    int rc = fs_error_log_new(&fs->error_log);

    if (rc == 0)
        rc = fs_ledger_new(&fs->users);
    if (rc == 0)
        rc = fs_ledger_new(&fs->accounts);
    if (rc == 0)
        rc = fs_nodes_new(fs);
    if (rc == 0) {
        fs->session = fuse_session_new(args, &fs_ops, sizeof(fs_ops), fs);
        rc = fs->session == NULL ? -EINVAL : 0;
    }
    fs->started_ns = fs_now_ns();
    if (rc < 0)
        session_free_parts(fs);
    else
        fs_control_announce(fs);
    return rc;
}

int fs_session_end(struct fs *fs, bool abandon)
{
    int rc;

    (void)!kv_sync(
        fs->store); /* answers every close that waits; whether a flush has failed is asked again below */
    fs_filelock_waits_end();
    fs_handles_end(fs, abandon);
    rc = kv_sync(fs->store);
    fs_opened_ahead_end(fs, true);
    fs_dirs_end(fs);
    fs_controls_end(fs);
    fs_bodies_end(fs);
    return rc;
}

void fs_session_free(struct fs *fs)
{
    kv_close(fs->store);
    session_free_parts(fs);
}
