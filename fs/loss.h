/* Losses: with durability=fsync a close succeeds before its put is durable. Where the put cannot be committed after all,
 * the next fsync of the key says so. While the key is open its body remembers that (file.h); meanwhile, and until it is
 * opened again, it is remembered here: of the last FS_LOSSES_KEPT keys. */
#ifndef KVFS_FS_LOSS_H
#define KVFS_FS_LOSS_H

#include "fs/fs.h"

#define FS_LOSSES_KEPT 1000

/* Remember that a put of a key failed with rc. Where there is no memory for it, only the errors file knows. */
void fs_loss_note(struct fs *fs, const struct kv_ref *ref, int rc);
/* What is remembered of a key, which is forgotten thereby; 0: nothing. */
int fs_loss_take(struct fs *fs, const struct kv_ref *ref);
/* At the end of the session. */
void fs_losses_free(struct fs *fs);

#endif
