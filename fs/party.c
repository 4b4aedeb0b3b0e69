#include "fs/party.h"

#include <string.h>

struct fs_party fs_party_of(struct fs *fs, struct fs_inode *namespace, const char *name)
{
    struct fs_party party = {.inode = fs_inode_find(fs, namespace->id, name, strlen(name))};

    if (party.inode != NULL)
        party.body = fs_body_pin(fs, party.inode);
    return party;
}

void fs_party_end(struct fs *fs, struct fs_party *party)
{
    if (party->body != NULL)
        fs_body_unpin(fs, party->inode);
    fs_inode_put(fs, party->inode);
}

void fs_party_lock(struct fs_party *a, struct fs_party *b)
{
    struct fs_body *first = a->body < b->body ? a->body : b->body;
    struct fs_body *second = a->body < b->body ? b->body : a->body;

    if (first != NULL)
        pthread_mutex_lock(&first->name);
    if (second != NULL && second != first)
        pthread_mutex_lock(&second->name);
}

void fs_party_unlock(struct fs_party *a, struct fs_party *b)
{
    if (a->body != NULL)
        pthread_mutex_unlock(&a->body->name);
    if (b->body != NULL && b->body != a->body)
        pthread_mutex_unlock(&b->body->name);
}
