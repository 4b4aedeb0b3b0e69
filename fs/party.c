#include "fs/party.h"

#include <string.h>

static void find(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_party *party)
{
    *party = (struct fs_party){namespace, name, fs_inode_find(fs, namespace->id, name, strlen(name)), NULL};
}

static void lock(struct fs *fs, struct fs_party *party)
{
    if (party->inode == NULL)
        return;
    pthread_mutex_lock(&party->inode->naming);
    party->body = fs_body_pin(fs, party->inode);
}

struct fs_party fs_party_of(struct fs *fs, struct fs_inode *namespace, const char *name)
{
    struct fs_party party;

    find(fs, namespace, name, &party);
    lock(fs, &party);
    return party;
}

void fs_parties_of(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_inode *to_namespace,
                   const char *to_name, struct fs_party *from, struct fs_party *to)
{
    find(fs, namespace, name, from);
    find(fs, to_namespace, to_name, to);
    lock(fs, from->inode < to->inode ? from : to);
    lock(fs, from->inode < to->inode ? to : from);
}

void fs_party_end(struct fs *fs, struct fs_party *party)
{
    if (party->inode == NULL)
        return;
    pthread_mutex_unlock(&party->inode->naming);
    if (party->body != NULL)
        fs_body_unpin(fs, party->inode);
    fs_inode_put(fs, party->inode);
}
