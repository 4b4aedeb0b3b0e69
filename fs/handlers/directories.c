#include "fs/handlers/handlers_internal.h"
#include "fs/names/listing.h"

#include <errno.h>
#include <stdlib.h>

void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct fs_dir *dir;
    int rc = fs_dir_open(fs, op_inode(req, ino), fuse_req_ctx(req)->uid, &dir);

    if (rc < 0) {
        op_reply(req, ino, NULL, "opendir", rc);
        return;
    }
    fi->fh = (uintptr_t)dir;
    if (fuse_reply_open(req, fi) != 0)
        fs_dir_close(fs, dir);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi,
                       bool plus)
{
    struct fs_dir_answer answer = {.req = req, .plus = plus, .bytes = malloc(size), .size = size};
    struct fs_dir *dir = op_handle(fi, FS_HANDLE_DIR);
    struct fs *fs = fs_of(req);
    int rc = dir == NULL ? -EBADF : answer.bytes == NULL ? -ENOMEM : fs_dir_read(fs, dir, offset, &answer);

    if (rc < 0)
        op_reply(req, ino, NULL, "readdir", rc);
    else
        rc = fuse_reply_buf(req, answer.bytes, answer.used);
    for (size_t i = 0; rc != 0 && i < answer.ids_count; i++) /* the kernel did not get them */
        fs_inode_forget(fs, answer.ids[i], 1);
    free(answer.ids);
    free(answer.bytes);
}

void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    op_readdir(req, ino, size, offset, fi, false);
}

void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    op_readdir(req, ino, size, offset, fi, true);
}

void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_dir *dir = op_handle(fi, FS_HANDLE_DIR);

    (void)ino;
    if (dir != NULL)
        fs_dir_close(fs_of(req), dir);
    fs_reply_error(req, 0);
}

/* Makes durable what was changed anywhere: with durability=close all is when it returns. */
void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    op_reply(req, ino, NULL, "fsync", kv_sync(fs_of(req)->store));
}
