/* What keys of several users on several nodes must be, in memory: POSIX permissions, objects, values, and handles
 * whose puts come when they are closed.
 *
 * Functions that judge a call return the errno that it must have, 0 for success. Their order of checks is the
 * kernel's.
 */
#ifndef KVFS_TESTS_SUPPORT_REFERENCE_H
#define KVFS_TESTS_SUPPORT_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { REF_NODES = 2, REF_USERS = 4, REF_DIRS = 4, REF_KEYS = 3, REF_DATA = 512, REF_MARK = 16, REF_GROUP = 6000 };

/* The first is root. `group` is one that users share; 0: the user has its own only, whose number is the uid. */
extern const struct ref_user {
    uid_t uid;
    gid_t group;
} ref_users[REF_USERS];

struct ref_attr {
    bool there;
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

struct ref_key {
    struct ref_attr attr;
    unsigned object, version; /* never the same again for another object, or another value */
    size_t size;
    uint8_t data[REF_DATA];
    char mark[REF_MARK]; /* the attribute user.mark; empty: none */
};

struct ref_dir {
    struct ref_attr attr;
    struct ref_key keys[REF_KEYS];
};

/* The central storage: namespaces in an account of mode 01777 that is root's. */
struct reference {
    struct ref_dir dirs[REF_DIRS];
    unsigned last_object, last_version;
};

struct ref_place {
    unsigned dir, key;
    unsigned way; /* to it, on a mount: model_way() */
};

struct ref_handle {
    int fd; /* the caller's; -1: not open */
    int flags;
    struct ref_place at;      /* the name that its put goes to */
    bool displaced;           /* removed or replaced on its own node: is never put */
    bool is_new;              /* created, and not put yet: only its node knows */
    bool wrote, emptied;      /* since it was put */
    struct ref_attr attr;     /* of the object, at the open */
    unsigned object, version; /* what it was opened from, or put last */
    size_t size, position;
    uint8_t data[REF_DATA];
};

struct ref_key *ref_key(struct reference *ref, struct ref_place at);
/* The key as a node sees it that has this handle open to it, or NULL. */
struct ref_key ref_view(struct reference *ref, struct ref_place at, const struct ref_handle *handle);
/* The store has what the handle was opened from, or put last. */
bool ref_is_newest(struct reference *ref, const struct ref_handle *handle);

bool ref_may(unsigned user, const struct ref_attr *attr, unsigned bits);
/* A path is looked up, and what is there used: bits 4 read, 2 write. key: as the node sees it */
int ref_access(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key,
               unsigned bits);
/* As its owner: chmod. */
int ref_own(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key);
int ref_chown(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key, uid_t uid,
              gid_t gid);
int ref_unlink(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key);
/* flags: of renameat2(2) */
int ref_rename(struct reference *ref, unsigned user, struct ref_place from, const struct ref_key *from_key,
               struct ref_place to, const struct ref_key *to_key, unsigned flags);
/* Where no handle of the node is open to the name. */
int ref_open(struct reference *ref, unsigned user, struct ref_place at, int flags);
int ref_mkdir(struct reference *ref, unsigned dir);
int ref_rmdir(struct reference *ref, unsigned user, unsigned dir);
int ref_chmod_dir(struct reference *ref, unsigned user, unsigned dir);

/* The handle of a successful open; its fd is the caller's. */
struct ref_handle ref_handle_new(struct reference *ref, unsigned user, struct ref_place at, int flags,
                                 mode_t mode);
void ref_write(struct ref_handle *handle, const void *bytes, size_t size);
void ref_resize(struct ref_handle *handle, size_t size);
/* Put what the handle has, if anything: fsync, close. *adopts: the key has another object's attributes now, which
 * of them is left open.
 * returns  0; another object is there: ESTALE where it has another owner, group or mode,
 * EEXIST where the handle's was created with O_EXCL */
int ref_publish(struct reference *ref, struct ref_handle *handle, bool *adopts);
/* A truncate(2). */
void ref_truncate(struct reference *ref, struct ref_place at, size_t size);
/* A new directory. */
void ref_make_dir(struct reference *ref, unsigned user, unsigned dir, mode_t mode);

#endif
