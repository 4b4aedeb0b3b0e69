#include "fs/session.h"

#include "fs/channel.h"
#include "fs/control.h"
#include "fs/dir.h"
#include "fs/errors.h"
#include "fs/file.h"
#include "fs/inode.h"
#include "fs/loss.h"
#include "fs/notify.h"
#include "fs/ops.h"

#include <errno.h>
#include <syslog.h>

static void free_parts(struct fs *fs)
{
    if (fs->notifier != NULL)
        fs_notifier_free(fs);
    if (fs->session != NULL)
        fuse_session_destroy(fs->session);
    fs_losses_free(fs);
    if (fs->root != NULL)
        fs_inodes_free(fs);
    if (fs->errors != NULL)
        fs_errors_free(fs->errors);
}

int fs_session_start(struct fs *fs, struct fuse_args *args)
{
    int rc = fs_errors_new(&fs->errors);

    if (rc == 0)
        rc = fs_inodes_new(fs);
    if (rc == 0)
        rc = fs_notifier_new(fs);
    if (rc == 0) {
        fs->session = fuse_session_new(args, &fs_ops, sizeof(fs_ops), fs);
        rc = fs->session == NULL ? -EINVAL : 0;
    }
    if (rc < 0)
        free_parts(fs);
    return rc;
}

int fs_session_end(struct fs *fs, bool abandon)
{
    struct fs_channel_refuser *refuser = NULL;
    int rc;

    if (abandon && fs_channel_refuse(fs->session, &refuser) < 0)
        syslog(LOG_WARNING, "requests are left unanswered at the end");
    rc = kv_sync(fs->store); /* answers every close that waits */
    fs_files_end(fs, abandon);
    fs_dirs_end(fs);
    fs_texts_end(fs);
    fs_notifier_free(fs); /* closes and bodies that wait for the kernel to forget something */
    fs_bodies_end(fs);
    if (refuser != NULL)
        fs_channel_refuse_stop(refuser);
    return rc;
}

void fs_session_free(struct fs *fs)
{
    kv_close(fs->store);
    free_parts(fs);
}
