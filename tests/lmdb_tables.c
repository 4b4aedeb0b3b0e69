/* Usage: lmdb_tables DIRECTORY: prints the name and the number of records of each table of an LMDB database, after
 * having read all of them. It is a program of LMDB's library alone: to it a store is a database like any other. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, mdb_strerror(rc));
    exit(1);
}

/* Read each byte. returns the number of records */
static size_t read_all(MDB_txn *txn, MDB_dbi table)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t count = 0;
    int rc;

    check(mdb_cursor_open(txn, table, &cursor), "cursor");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        for (size_t i = 0; i < value.mv_size; i++)
            (void)((const volatile unsigned char *)value.mv_data)[i];
        count++;
    }
    mdb_cursor_close(cursor);
    check(rc == MDB_NOTFOUND ? 0 : rc, "next record");
    return count;
}

static void print_table(MDB_txn *txn, const char *name)
{
    MDB_stat stat;
    MDB_dbi table;
    size_t count;

    check(mdb_dbi_open(txn, name, 0, &table), name);
    check(mdb_stat(txn, table, &stat), name);
    count = read_all(txn, table);
    if (count != stat.ms_entries) {
        fprintf(stderr, "%s: %zu of %zu records are there\n", name, count, stat.ms_entries);
        exit(1);
    }
    printf("%s %zu\n", name, count);
}

int main(int argc, char **argv)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi tables;
    int rc;

    if (argc != 2)
        return 2;
    check(mdb_env_create(&env), "environment");
    check(mdb_env_set_maxdbs(env, 32), "environment");
    check(mdb_env_open(env, argv[1], MDB_RDONLY, 0), argv[1]);
    check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "transaction");
    check(mdb_dbi_open(txn, NULL, 0, &tables), "tables");
    check(mdb_cursor_open(txn, tables, &cursor), "tables");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        char name[64] = "";

        if (key.mv_size >= sizeof(name))
            return 3;
        memcpy(name, key.mv_data, key.mv_size);
        print_table(txn, name);
    }
    check(rc == MDB_NOTFOUND ? 0 : rc, "next table");
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return 0;
}
