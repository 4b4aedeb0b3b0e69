#include "fs/handlers/session.h"

#include "fs/base/errorlog.h"
#include "fs/base/ledger.h"
#include "fs/control/control.h"
#include "fs/dir.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "fs/loss.h"
#include "fs/notify.h"
#include "fs/ops.h"

#include <errno.h>
#include <stdlib.h>

void fs_session_lost(void *arg, const struct kv_ref *ref, uint64_t version, int rc)
{
    fs_file_lost(arg, ref, version, rc);
}

static void session_free_parts(struct fs *fs)
{
    if (fs->session != NULL)
        fuse_session_destroy(fs->session);
    if (fs->nodes != NULL) {
        if (fs->nodes->notifier != NULL)
            fs_notifier_free(fs);
        fs_losses_free(fs);
        if (fs->nodes->root != NULL)
            fs_inodes_free(fs);
        free(fs->nodes);
    }
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
        rc = (fs->nodes = calloc(1, sizeof(*fs->nodes))) == NULL ? -ENOMEM : 0;
    if (rc == 0)
        rc = fs_inodes_new(fs);
    if (rc == 0)
        rc = fs_notifier_new(fs);
    if (rc == 0) {
        fs->session = fuse_session_new(args, &fs_ops, sizeof(fs_ops), fs);
        rc = fs->session == NULL ? -EINVAL : 0;
    }
    if (rc < 0)
        session_free_parts(fs);
    return rc;
}

int fs_session_end(struct fs *fs, bool abandon)
{
    int rc = kv_sync(fs->store); /* answers every close that waits */

    fs_files_end(fs, abandon);
    fs_dirs_end(fs);
    fs_controls_end(fs);
    fs_notifier_free(fs); /* closes and bodies that wait for the kernel to forget something */
    fs_bodies_end(fs);
    return rc;
}

void fs_session_free(struct fs *fs)
{
    kv_close(fs->store);
    session_free_parts(fs);
}
