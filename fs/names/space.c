#include "fs/names/space.h"

#include "fs/nodes/view.h"

#include <errno.h>

#define BLOCK 512

static int space_of_store(struct fs *fs, struct statvfs *out)
{
    struct statvfs disk;

    if (statvfs(fs->options->store, &disk) < 0)
        return -EIO; /* whatever it says of the store's path is not about this file system */
    out->f_blocks = disk.f_blocks * disk.f_frsize / BLOCK;
    out->f_bfree = disk.f_bfree * disk.f_frsize / BLOCK;
    out->f_bavail = disk.f_bavail * disk.f_frsize / BLOCK;
    return 0;
}

/* How many keys more there may be: one a block that is free, unless the account has a limit of its own. */
static uint64_t space_free_keys(const struct kv_node *account, uint64_t blocks)
{
    uint64_t left = account->limit_keys > account->keys ? account->limit_keys - account->keys : 0;

    return account->limit_keys != 0 && left < blocks ? left : blocks;
}

int fs_statfs(struct fs *fs, struct fs_inode *inode, const struct fuse_ctx *who, struct statvfs *out)
{
    bool in_namespace = inode->kind == FS_KEY || fs_is_namespace(fs_view_namespace(inode));
    uint64_t account_id = fs_inode_account(fs, inode);
    struct kv_node account;
    uint64_t room;
    int rc = kv_node_get(fs->store, account_id != 0 ? account_id : KV_ROOT_ID, &account);

    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    *out = (struct statvfs){
        .f_bsize = BLOCK, .f_frsize = BLOCK, .f_namemax = in_namespace ? KV_KEY_MAX : KV_NAME_MAX};
    if (account.kind == KV_ACCOUNT && fs_may_look(&account.attr, who)) {
        room = account.limit_bytes > account.bytes ? account.limit_bytes - account.bytes : 0;
        out->f_blocks = (account.bytes + room) / BLOCK;
        out->f_bfree = out->f_bavail = room / BLOCK;
        out->f_ffree = space_free_keys(&account, out->f_bavail);
        out->f_files = account.keys + out->f_ffree;
    } else {
        rc = space_of_store(fs, out);
        out->f_files = out->f_ffree = out->f_bavail;
    }
    out->f_favail = out->f_ffree;
    return rc;
}
