#!/bin/bash
# kvctl: what it prints, how it ends, what it leaves in the store. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"
limit=26214400

# ------------------------------------------------------------------ put and get

case_a_value_is_read_back_as_it_was_put() {
    does put a/n/k hello
    prints 0 hello get a/n/k
    does put a/n/k 'another one'
    prints 0 'another one' get a/n/k
    prints 0 'another one' get a/n/k --type text
}

case_a_value_comes_from_standard_input_or_a_file() {
    printf 'from\nstandard input' | kv put a/n/in || wrong "exit status $?"
    prints 0 $'from\nstandard input' get a/n/in
    printf 'from\0a file%%s\n' >file
    does put a/n/file --file file
    holds file a/n/file
    does put --file=file a/n/file2
    holds file a/n/file2
}

case_every_byte_goes_through_unchanged() {
    printf '%b' "$(printf '\\x%02x' {0..255})" >bytes
    [ "$(wc -c <bytes)" -eq 256 ] || wrong "this shell cannot write 256 bytes"
    printf '%%s%%n%%d\0\0\n\n\0' >>bytes
    does put a/n/k --file bytes
    holds bytes a/n/k
    kv put a/n/k2 <bytes || wrong "exit status $?"
    holds bytes a/n/k2
}

case_values_of_every_size_class_go_through() {
    local size
    for size in 1 2 1023 1024 1025 4095 4096 4097 65535 65536 65537 262143 262144 262145 1000000; do
        head -c $size /dev/urandom >value
        kv put a/n/k <value || wrong "$size bytes: exit status $?"
        holds value a/n/k
    done
}

case_a_value_of_25_MiB_goes_through() {
    head -c $limit /dev/urandom >value
    does put a/n/file --file value
    holds value a/n/file
    tail -c +1 value | kv put a/n/pipe || wrong "exit status $?"
    holds value a/n/pipe
}

case_a_value_of_one_byte_more_is_refused_and_the_old_one_stays() {
    does put a/n/k old
    head -c $((limit + 1)) /dev/zero >value
    refuses 2 "a/n/k|$limit bytes|25 MiB" put a/n/k --file value
    refuses 2 "a/n/k|$limit bytes" put a/n/k <value
    prints 0 old get a/n/k
    refuses 2 "$limit bytes" put a/n/new --file value
    prints 1 '' get a/n/new
}

case_an_endless_input_is_refused_in_the_end() {
    refuses 2 "$limit bytes" put a/n/k < <(yes 2>/dev/null)
}

case_an_absent_key_prints_nothing_and_exits_1() {
    prints 1 '' get a/n/absent
    prints 1 '' get a/n/absent --type text
    prints 1 $'null\n' get a/n/absent --type json
}

case_an_empty_value_prints_nothing_and_exits_1() {
    does put a/n/k ''
    prints 1 '' get a/n/k
    prints 1 $'null\n' get a/n/k --type json
    : | kv put a/n/k2 --empty || wrong "exit status $?"
    prints 1 '' get a/n/k2
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"k"},{"key":"k2"}]}'$'\n' list a/n
}

case_a_value_that_begins_with_a_dash_goes_after_two_dashes() {
    refuses 2 "-5|'--'" put a/n/k -5 </dev/null
    does put a/n/k -- -5
    prints 0 -5 get a/n/k
    does put -- a/n/k --file
    prints 0 --file get a/n/k
    refuses 2 "-x|'--'" put a/n/k -xyz </dev/null
}

case_a_value_given_twice_is_refused() {
    echo hello >file
    refuses 2 'a/n/k|not both' put a/n/k hello --file file
}

case_a_file_that_cannot_be_read_is_refused() {
    does put a/n/k old
    mkdir directory
    refuses 2 'absent|No such file' put a/n/k --file absent
    refuses 2 'directory|Is a directory' put a/n/k --file directory
    refuses 2 'standard input|Is a directory' put a/n/k <directory
    prints 0 old get a/n/k
}

case_a_file_that_ends_early_is_refused() {
    local file=/sys/kernel/mm/transparent_hugepage/enabled # says that it has 4096 bytes
    if [ ! -r $file ] || [ "$(stat -c %s $file)" -le "$(wc -c <$file)" ]; then
        skip "there is no file here that is shorter than its size"
    fi
    refuses 2 "$file|it ended after" put a/n/k --file $file
}

case_a_closed_standard_input_is_an_error() {
    refuses 2 'standard input' put a/n/k <&-
}

case_a_damaged_value_is_an_error_and_no_absence() {
    local at
    does put a/n/k 'a_needle_in_the_file'
    at=$(grep -abo a_needle_in_the_file "$KVFS_STORE/data.mdb" | cut -d: -f1)
    [ -n "$at" ] || skip "the value is not found in data.mdb"
    for at in $at; do
        printf A | dd of="$KVFS_STORE/data.mdb" bs=1 seek="$at" conv=notrunc 2>/dev/null
    done
    refuses 2 'a/n/k|damaged' get a/n/k
}

# In one of several pages of keys: those on the others are found, and nothing is said to be absent.
case_with_a_damaged_page_nothing_is_absent_and_no_listing_complete() {
    local i at
    for i in 10 11 12 13 14 15 16 17 18 19 20 21; do
        does put "a/n/k$i" "needle_$i$(printf '%01500d' 0)"
    done
    for at in $(grep -abo needle_10 "$KVFS_STORE/data.mdb" | cut -d: -f1); do
        head -c 4096 /dev/zero |
            dd of="$KVFS_STORE/data.mdb" bs=4096 seek=$((at / 4096)) conv=notrunc 2>/dev/null
    done
    prints 0 "needle_21$(printf '%01500d' 0)" get a/n/k21
    refuses 2 'a/n/k|damaged' get a/n/k
    refuses 2 'a/n/k10|damaged' get a/n/k10
    refuses 2 'a/n/k|damaged' get a/n/k --meta
    refuses 2 'page |of data.mdb (table keys) is damaged' get a/n/k22
    refuses 2 'page |of data.mdb (table keys) is damaged' get a/n/k22 --meta
    refuses 2 'page |of data.mdb (table keys) is damaged' get a/absent/k
    refuses 2 'page |of data.mdb (table keys) is damaged' get absent/n/k
    refuses 2 'a/n|damaged' list a/n
    refuses 2 'a/n|damaged' list a/n --all
    refuses 2 'page |of data.mdb (table keys) is damaged' list a/n --prefix k2
    refuses 2 'page |of data.mdb (table keys) is damaged' list a/n --prefix k2 --all
    refuses 2 'page |of data.mdb (table keys) is damaged' account list
    refuses 2 'page |of data.mdb (table keys) is damaged' put a/n/k21 new
    refuses 2 'page |of data.mdb (table keys) is damaged' delete a/n/k21
    prints 0 "needle_21$(printf '%01500d' 0)" get a/n/k21
}

# ------------------------------------------------------------------------ JSON

case_json_is_printed_as_it_was_stored() {
    local value
    for value in '{"b" : 1,  "a":[true,null]}' $' [1,\n2]\n' 5 '"text"' true null 1e3 \
        '123456789012345678901234567890' '"\u0000"' '{"a":1,"a":2}' '""' '[]'; do
        does put a/n/k "$value"
        prints 0 "$value" get a/n/k --type json
    done
}

# not_json LINE COLUMN BYTE VALUE: the value is refused, with the position where the bad token begins
not_json() {
    printf '%b' "$4" | kv put a/n/k
    refuses 2 "a/n/k: the value is not JSON: line $1, column $2, byte $3: |--type text" get a/n/k --type json
}

case_what_is_not_json_is_refused_with_its_position() {
    not_json 1 1 1 hello
    not_json 2 6 14 '{"a":1,\n "b":x}'
    not_json 2 6 14 '{"a":1,\n "b":xyz}'
    not_json 1 5 5 '[1] 2'
    not_json 1 5 5 '[1] 234'
    not_json 1 4 4 '[1,]'
    not_json 1 6 6 '{"a" "b":1}'
    not_json 1 2 2 '{1:2}'
    not_json 1 1 1 truex
    not_json 1 1 1 01
    not_json 1 1 1 1.
    not_json 1 4 4 '[1,1e999]'
    not_json 1 4 4 123abc
    not_json 1 1 1 "'a'"
    not_json 1 1 1 '// comment'
}

case_a_position_in_json_counts_characters_and_bytes() {
    not_json 1 6 7 '["\0303\0244",x]'
    not_json 1 2 2 '[\0303\0244]'
    not_json 2 6 15 '["\0342\0202\0254",\n"\0303\0244", \0303\0244\0303\0244]'
}

case_a_string_in_json_is_one_token() {
    not_json 1 2 2 '["ab\\q"]'
    not_json 1 8 8 '["\\"x" "a b"]'
    not_json 1 1 1 '"ab\nc"'
    not_json 1 2 2 '["ab'
    not_json 1 2 2 '["ab\\'
}

case_a_byte_that_is_no_text_is_shown_in_json() {
    not_json 1 2 2 '"\0377"'
    not_json 1 5 5 '["ab\0377"]'
    not_json 1 1 1 '\0377'
    not_json 1 2 2 '1\0000'
}

case_json_that_ends_early_is_refused_at_its_end() {
    not_json 1 6 6 '{"a":'
    not_json 1 5 5 '[[[['
    not_json 3 1 6 '[1,\n\n'
    not_json 1 2 2 ' '
}

case_a_type_is_text_or_json() {
    does put a/n/k hello
    refuses 2 'xml|text or json' get a/n/k --type xml
    refuses 2 'text or json' get a/n/k --type ''
}

# ---------------------------------------------------------------------- delete

case_a_deleted_key_is_gone() {
    does put a/n/k hello
    does delete a/n/k
    prints 1 '' get a/n/k
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n
}

case_deleting_an_absent_key_says_so_and_exits_1() {
    refuses 1 'a/n/k|no such key' delete a/n/k
    does put a/n/k hello
    does delete a/n/k
    refuses 1 'a/n/k|no such key' delete a/n/k
}

# ----------------------------------------------------------------------- names

case_a_key_has_1_to_512_letters_digits_or_underscores() {
    local key
    for key in a A 0 _ 9z "$(symbols 511)" "$(symbols 512)" \
        abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789; do
        does put "a/n/$key" "value of $key"
        prints 0 "value of $key" get "a/n/$key"
    done
    for key in '' a.b a-b 'a b' .a a: $'a\nb' $'\303\244' a% "a'b" '*'; do
        refuses 2 '1 to 512 letters, digits or underscores' put "a/n/$key" value
        refuses 2 '1 to 512 letters, digits or underscores' get "a/n/$key"
        refuses 2 '1 to 512 letters, digits or underscores' delete "a/n/$key"
    done
    refuses 2 'too long|513 bytes|1 to 512' put "a/n/$(symbols 513)" value
    refuses 2 'too long|513 bytes|1 to 512' get "a/n/$(symbols 513)"
    refuses 2 'too long|100000 bytes|1 to 512' delete "a/n/$(symbols 100000)"
}

case_a_path_has_the_form_that_the_command_needs() {
    local path
    for path in '' a a/n a/n/k/l /a/n/k a/n/k/; do
        refuses 2 'ACCOUNT/NAMESPACE/KEY' put "$path" value
        refuses 2 'ACCOUNT/NAMESPACE/KEY' get "$path"
        refuses 2 'ACCOUNT/NAMESPACE/KEY' delete "$path"
    done
    for path in '' a a/n/k /a/n; do
        refuses 2 'ACCOUNT/NAMESPACE' list "$path"
        refuses 2 'ACCOUNT/NAMESPACE' namespace create "$path"
    done
    for path in '' -a .a a.b "$(symbols 65)"; do
        refuses 2 '1 to 64' account create -- "$path"
        refuses 2 '1 to 64' account show -- "$path"
        refuses 2 '1 to 64' namespace create "a/$path"
        refuses 2 '1 to 64' project create "a/$path"
        refuses 2 '1 to 64' list "a/$path"
    done
    refuses 2 'not of the form ACCOUNT' account create a/b
    does account create "$(symbols 64)"
    does namespace create "a/$(symbols 64)"
}

case_an_absent_account_or_namespace_is_an_error() {
    local command
    for command in 'get b/n/k' 'delete b/n/k' 'put b/n/k value' 'list b/n' 'namespace list b' 'account show b' \
        'namespace create b/n' 'project create b/p' 'account limit b --bytes 1' 'account delete b'; do
        # shellcheck disable=SC2086 # these are words
        refuses 2 'no account b|kvctl account create b' $command
    done
    for command in 'get a/m/k' 'delete a/m/k' 'put a/m/k value' 'list a/m' 'namespace show a/m' \
        'namespace rename a/m o' 'namespace delete a/m'; do
        # shellcheck disable=SC2086
        refuses 2 'no namespace m in account a|kvctl namespace create a/m' $command
    done
    for command in 'binding list a/p' 'binding create a/p v n' 'project delete a/p' "env a/p --mount /"; do
        # shellcheck disable=SC2086
        refuses 2 'no project p in account a|kvctl project create a/p' $command
    done
}

# ------------------------------------------------------------------------ list

case_a_page_is_printed_exactly_so() {
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n
    does put a/n/b 1
    does put a/n/B 2
    does put a/n/_ 3
    does put a/n/0 4
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"0"},{"key":"B"},{"key":"_"},{"key":"b"}]}'$'\n' \
        list a/n
    prints 0 '{"complete":false,"cursor":"_","keys":[{"key":"0"},{"key":"B"}]}'$'\n' list a/n --limit 2
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"_"},{"key":"b"}]}'$'\n' list a/n --limit 2 --cursor _
    prints 0 $'0\nB\n_\nb\n' list a/n --all
}

case_a_prefix_selects_keys() {
    local key
    for key in a ab abc abd ac b; do
        does put a/n/$key 1
    done
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"ab"},{"key":"abc"},{"key":"abd"}]}'$'\n' \
        list a/n --prefix ab
    prints 0 '{"complete":false,"cursor":"abd","keys":[{"key":"ab"},{"key":"abc"}]}'$'\n' \
        list a/n --prefix ab --limit 2
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"abd"}]}'$'\n' list a/n --prefix ab --cursor abd
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n --prefix ab --cursor b
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"b"}]}'$'\n' list a/n --prefix b --cursor a
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n --prefix zz
    prints 0 $'ab\nabc\nabd\n' list a/n --prefix ab --all
    prints 0 '' list a/n --prefix zz --all
    prints 0 $'a\nab\nabc\nabd\nac\nb\n' list a/n --prefix '' --all
    refuses 2 '--prefix|1 to 512' list a/n --prefix a.b
    refuses 2 '--prefix|513 bytes|1 to 512' list a/n --prefix "$(symbols 513)"
}

case_a_cursor_whose_key_is_gone_goes_on_with_the_next_one() {
    local key
    for key in a c e; do
        does put a/n/$key 1
    done
    prints 0 '{"complete":false,"cursor":"c","keys":[{"key":"a"}]}'$'\n' list a/n --limit 1
    does delete a/n/c
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"e"}]}'$'\n' list a/n --limit 1 --cursor c
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n --cursor f
    prints 0 '{"complete":false,"cursor":"e","keys":[{"key":"a"}]}'$'\n' list a/n --limit 1 --cursor ''
    refuses 2 '--cursor|1 to 512' list a/n --cursor 'a b'
}

case_a_limit_is_1_to_256() {
    local count
    for count in 0 257 -1 1x x '' ' 1' 0x10 1.5 99999999999999999999999; do
        refuses 2 "--limit|1 to 256" list a/n --limit "$count"
    done
    does put a/n/k 1
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"k"}]}'$'\n' list a/n --limit 1
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"k"}]}'$'\n' list a/n --limit 256
    refuses 2 '--all' list a/n --all --limit 5
    refuses 2 '--all' list a/n --all --cursor k
}

# keys PAGE: the keys of a printed page, one a line
keys() {
    sed 's/.*"keys":\[//' "$1" | grep -o '"key":"[^"]*"' | cut -d'"' -f4
}

case_pages_lead_through_every_key_in_order() {
    local size
    KVFS_STORE=$many
    kv list m/n --all >all
    [ "$(wc -l <all)" -eq 400 ] || wrong "--all prints $(wc -l <all) keys, not 400"
    sort -c all || wrong "the keys are not in order"
    for size in 7 100 256 default; do
        local cursor='' pages=0
        local -a options=()
        [ $size = default ] || options=(--limit "$size")
        : >paged
        while [ $pages -lt 400 ]; do
            kv list m/n "${options[@]}" --cursor "$cursor" >page || wrong "exit status $?"
            keys page >>paged
            pages=$((pages + 1))
            if grep -q '^{"complete":true,"cursor":null,' page; then
                break
            fi
            cursor=$(sed -n 's/^{"complete":false,"cursor":"\([^"]*\)",.*/\1/p' page)
        done
        cmp -s all paged || wrong "pages of $size do not agree with --all"
        [ $size = default ] && size=256
        [ $pages -eq $(((400 + size - 1) / size)) ] || wrong "$pages pages of $size"
    done
    kv list m/n --prefix w2_ --all >paged
    grep '^w2_' all | cmp -s - paged || wrong "--prefix w2_ does not agree with --all"
}

case_puts_of_four_processes_at_once_are_all_there() {
    local worker i
    KVFS_STORE=$many
    shows keys 400 account show m
    for worker in 1 2 3 4; do
        for i in 000 042 099; do
            prints 0 "value $i of $worker" get m/n/w${worker}_$i
        done
    done
}

case_puts_to_one_key_at_once_leave_one_whole_value() {
    local i
    for i in 1 2 3 4; do
        head -c 300000 /dev/zero | tr '\0' $i >value$i
        for _ in 1 2 3 4 5; do
            kv put a/n/k --file value$i || echo "put failed: $?"
        done >failed$i 2>&1 &
    done
    wait
    cat failed* >failed
    [ ! -s failed ] || wrong "$(head -3 failed)"
    kv get a/n/k >value
    cmp -s value value1 || cmp -s value value2 || cmp -s value value3 || cmp -s value value4 ||
        wrong "the value is a mixture"
    shows bytes 300001 namespace show a/n
}

# -------------------------------------------------------------------- accounts

case_accounts_are_created_listed_and_deleted() {
    prints 0 $'a\n' account list
    does account create b
    does account create B-2
    does account create _1
    prints 0 $'B-2\n_1\na\nb\n' account list
    refuses 2 'b|exists already' account create b
    does account delete b
    prints 0 $'B-2\n_1\na\n' account list
    prints 0 '' namespace list B-2
}

case_an_account_has_the_owner_and_the_mode_that_are_asked_for() {
    does account create own
    shows uid "$(id -u)" account show own
    shows mode '"0700"' account show own
    does account create theirs --owner nobody --mode 0750
    shows uid "$(id -u nobody)" account show theirs
    shows gid "$(id -g nobody)" account show theirs
    shows mode '"0750"' account show theirs
    (umask 077 && kv account create numbers --owner 4711:12 --mode 2775) || wrong "exit status $?"
    shows uid 4711 account show numbers
    shows gid 12 account show numbers
    shows mode '"2775"' account show numbers
    does account create alone --owner 4711
    shows gid 4711 account show alone
    does account create named --owner root:daemon
    shows gid "$(id -g daemon)" account show named
    refuses 2 'no such user' account create x --owner no_user_here
    refuses 2 'no such user' account create x --owner ''
    refuses 2 'no such user' account create x --owner 99999999999
    refuses 2 'no such group' account create x --owner root:no_group_here
    refuses 2 'three or four digits' account create x --mode rwx
    refuses 2 'three or four digits' account create x --mode 0888
    refuses 2 'three or four digits' account create x --mode ''
}

case_an_account_that_is_not_empty_is_deleted_only_recursively() {
    does account create b
    does namespace create b/n
    refuses 2 'b|not empty|--recursive' account delete b
    does put b/n/k value
    does namespace create b/m
    does project create b/p
    does binding create b/p v n
    refuses 2 'b|not empty|--recursive' account delete b
    does account delete b --recursive
    prints 0 $'a\n' account list
    shows keys 0 account show a
    does account create b
    prints 0 '' namespace list b
    prints 0 '' project list b
}

case_an_account_with_only_a_project_is_not_empty() {
    does account create b
    does project create b/p
    refuses 2 'b|not empty' account delete b
    does project delete b/p
    does account delete b
}

case_an_account_shows_its_figures() {
    does put a/n/key value
    does put a/n/key2 "$(symbols 100)"
    does namespace create a/m
    shows account '"a"' account show a
    shows keys 2 account show a
    shows bytes 112 account show a
    shows limit_bytes 1073741824 account show a
    shows namespaces 2 account show a
    shows limit_namespaces 10 account show a
    shows limit_keys null account show a
    shows bindings 0 account show a
    shows limit_bindings 1024 account show a
    shows uid "$(id -u)" account show a
    shows gid "$(id -g)" account show a
    shows mode '"0700"' account show a
    shows id '[0-9]+' account show a
    shows created '"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{9}Z"' account show a
    does put a/n/key ''
    shows bytes 107 account show a
    does delete a/n/key2
    shows bytes 3 account show a
    shows keys 1 account show a
}

case_an_account_holds_as_many_bytes_as_its_limit_says() {
    does account limit a --bytes 10
    does put a/n/k 123456789
    refuses 2 'a/n/k|account a is full|10 bytes|kvctl account limit a' put a/n/k 1234567890
    refuses 2 'a/n/l|account a is full|it holds 10 bytes|limit of 10 bytes' put a/n/l ''
    prints 0 123456789 get a/n/k
    does put a/n/k 12345678
    does put a/n/l ''
    does account limit a --bytes 1K
    shows limit_bytes 1024 account show a
    shows limit_namespaces 10 account show a
    does put a/n/l "$(symbols 1014)"
    refuses 2 'account a is full' put a/n/l "$(symbols 1015)"
    does account limit a --bytes 0
    refuses 2 'account a is full' put a/n/m ''
    does put a/n/l "$(symbols 1013)"
    does delete a/n/l
}

case_an_account_has_as_many_namespaces_as_its_limit_says() {
    local i
    for i in 2 3 4 5 6 7 8 9 10; do
        does namespace create a/n$i
    done
    refuses 2 'a/n11|10 namespaces|limit is 10|kvctl account limit a' namespace create a/n11
    does account limit a --namespaces 11
    shows limit_bytes 1073741824 account show a
    does namespace create a/n11
    refuses 2 'a/n12|11 namespaces|limit is 11' namespace create a/n12
    does namespace delete a/n3
    does namespace create a/n12
}

case_attributes_count_as_bytes() {
    does put a/n/k 123 --meta b=1234
    shows bytes 14 account show a
    does account limit a --bytes 14
    refuses 2 'account a is full|keys, values and attributes' put a/n/k 123 --meta b=12345
    does put a/n/k 123
    shows bytes 14 namespace show a/n # they stay
}

case_an_account_has_as_many_keys_as_its_limit_says() {
    does account limit a --keys 2
    shows limit_keys 2 account show a
    shows limit_keys 2 namespace show a/n
    shows limit_bytes 1073741824 account show a
    does put a/n/k 1
    does put a/n/l 1
    refuses 2 'a/n/m|account a has 2 keys|limit is 2|kvctl account limit a --keys' put a/n/m 1
    does put a/n/l 2
    does account limit a --bytes 4
    refuses 2 'a/n/l|account a is full' put a/n/l 22
    does account limit a --keys none
    shows limit_keys null account show a
    does delete a/n/k
}

case_an_account_has_as_many_projects_and_bindings_as_its_limit_says() {
    does account limit a --bindings 2
    does project create a/p
    does binding create a/p V n
    shows bindings 2 account show a
    refuses 2 'W|2 projects and bindings|limit is 2|kvctl account limit a --bindings' binding create a/p W n
    refuses 2 'a/q|2 projects and bindings|limit is 2' project create a/q
    does account limit a --bindings none
    shows limit_bindings null account show a
    does project create a/q
    does namespace delete a/n
    shows bindings 2 account show a
}

case_a_damaged_key_can_be_deleted_and_put_and_does_not_keep_its_namespace() {
    local at
    does put a/n/k value --meta needle=a_needle_in_the_file
    does put a/n/other value
    for round in delete put namespace; do
        at=$(grep -abo a_needle_in_the_file "$KVFS_STORE/data.mdb" | cut -d: -f1)
        [ -n "$at" ] || skip "the attribute is not found in data.mdb"
        for at in $at; do
            printf A | dd of="$KVFS_STORE/data.mdb" bs=1 seek="$at" conv=notrunc 2>/dev/null
        done
        refuses 2 'a/n/k|damaged' get a/n/k
        refuses 2 'a/n|damaged' list a/n
        case $round in
        delete) does delete a/n/k && does put a/n/k value --meta needle=a_needle_in_the_file ;;
        put) does put a/n/k value --meta needle=a_needle_in_the_file ;;
        namespace) does namespace delete a/n --recursive ;;
        esac
    done
    shows bytes 0 account show a
    shows keys 0 account show a
    shows ok true check
}

case_a_limit_is_a_number() {
    local size
    for size in x -1 '' 1Q 1KK K 1.5G 99999999999999999999 9223372036854775808 8388608T; do
        refuses 2 '--bytes|K, M, G or T' account limit a --bytes "$size"
    done
    for size in x -1 '' 1K 9223372036854775808; do
        refuses 2 '--namespaces|whole number' account limit a --namespaces "$size"
    done
    for size in x -1 '' 0 1K 9223372036854775808 None; do
        refuses 2 '--keys|whole number from 1 on|none' account limit a --keys "$size"
        refuses 2 '--bindings|whole number from 1 on|none' account limit a --bindings "$size"
    done
    refuses 2 'a|--bytes SIZE|--keys N|--bindings N' account limit a
    does account limit a --bytes 2M --namespaces 3
    shows limit_bytes 2097152 account show a
    shows limit_namespaces 3 account show a
    does account limit a --bytes 3g
    shows limit_bytes 3221225472 account show a
    does account limit a --bytes 9223372036854775807
    shows limit_bytes 9223372036854775807 account show a
}

# ------------------------------------------------------------------ namespaces

case_namespaces_are_created_listed_and_deleted() {
    prints 0 $'n\n' namespace list a
    does namespace create a/N
    does namespace create a/m-1
    prints 0 $'N\nm-1\nn\n' namespace list a
    refuses 2 'a/N|exists already' namespace create a/N
    does namespace delete a/N
    prints 0 $'m-1\nn\n' namespace list a
}

case_a_namespace_that_is_not_empty_is_deleted_only_recursively() {
    does put a/n/k value
    refuses 2 'a/n|not empty|--recursive' namespace delete a/n
    prints 0 value get a/n/k
    does namespace delete a/n --recursive
    prints 0 '' namespace list a
    shows bytes 0 account show a
    does namespace create a/n
    prints 1 '' get a/n/k
    does namespace delete a/n --recursive
}

case_a_namespace_with_more_keys_than_a_page_is_deleted_recursively() {
    cp -a "$many" many
    KVFS_STORE=$PWD/many
    does namespace delete m/n --recursive
    prints 0 '' namespace list m
    shows keys 0 account show m
    shows bytes 0 account show m
}

case_a_renamed_namespace_keeps_its_keys() {
    does put a/n/k value
    does namespace create a/o
    does namespace rename a/n N2
    prints 0 $'N2\no\n' namespace list a
    prints 0 value get a/N2/k
    refuses 2 'no namespace n' get a/n/k
    refuses 2 'o|exists already' namespace rename a/N2 o
    refuses 2 'exists already' namespace rename a/N2 N2
    refuses 2 "b.c|1 to 64" namespace rename a/N2 b.c
    refuses 2 "b/c|1 to 64" namespace rename a/N2 b/c
    refuses 2 "65 bytes|1 to 64" namespace rename a/N2 "$(symbols 65)"
    does namespace rename a/N2 "$(symbols 64)"
    prints 0 value get "a/$(symbols 64)/k"
}

case_a_namespace_shows_its_figures() {
    does namespace create a/m
    does put a/m/other 12345
    does put a/n/k 123
    shows account '"a"' namespace show a/n
    shows namespace '"n"' namespace show a/n
    shows keys 1 namespace show a/n
    shows bytes 4 namespace show a/n
    shows account_bytes 14 namespace show a/n
    shows limit_bytes 1073741824 namespace show a/n
    shows uid "$(id -u)" namespace show a/n
    (umask 027 && kv namespace create a/o)
    shows mode '"0750"' namespace show a/o
    shows modified '"20.*Z"' namespace show a/n
}

# ------------------------------------------------------- projects and bindings

case_projects_and_bindings_are_created_listed_and_deleted() {
    prints 0 '' project list a
    does project create a/site
    does project create a/App
    prints 0 $'App\nsite\n' project list a
    refuses 2 'a/site|exists already' project create a/site
    does namespace create a/m
    prints 0 '' binding list a/site
    does binding create a/site my_kv n
    does binding create a/site _other m
    does binding create a/site again n
    does binding create a/App my_kv m
    prints 0 $'_other\tm\nagain\tn\nmy_kv\tn\n' binding list a/site
    prints 0 $'my_kv\tm\n' binding list a/App
    refuses 2 'my_kv|exists already' binding create a/site my_kv m
    does binding delete a/site again
    prints 0 $'_other\tm\nmy_kv\tn\n' binding list a/site
    refuses 2 'again|no such binding' binding delete a/site again
    refuses 2 'a/site|not empty|--recursive' project delete a/site
    does project delete a/site --recursive
    prints 0 $'App\n' project list a
    does binding delete a/App my_kv
    does project delete a/App
    prints 0 $'m\nn\n' namespace list a
}

case_a_binding_follows_its_namespace() {
    does project create a/p
    does binding create a/p v n
    does namespace rename a/n renamed
    prints 0 $'v\trenamed\n' binding list a/p
    does namespace delete a/renamed
    prints 0 '' binding list a/p
    does project delete a/p
}

case_a_variable_is_an_identifier() {
    local name
    does project create a/p
    for name in '' 1a a-b a.b 'a b' 'a=b' "$(symbols 65)"; do
        refuses 2 'a/p|a variable is 1 to 64' binding create a/p "$name" n
        refuses 2 'a/p|a variable is 1 to 64' binding delete a/p "$name"
    done
    refuses 2 'no namespace absent in account a' binding create a/p v absent
    refuses 2 'a/p|1 to 64' binding create a/p v .projects
    does binding create a/p "$(symbols 64)" n
}

# -------------------------------------------------------------------- metadata

case_metadata_is_put_and_printed_with_the_value() {
    does put a/n/k value
    prints 0 $'{}\n' get a/n/k --meta
    does put a/n/k value --meta type=text/plain --meta 'b=x=y "q"' --meta empty=
    prints 0 '{"b":"x=y \"q\"","empty":"","type":"text/plain"}'$'\n' get a/n/k --meta
    prints 0 value get a/n/k
    does put a/n/k 'new value'
    prints 0 '{"b":"x=y \"q\"","empty":"","type":"text/plain"}'$'\n' get a/n/k --meta
    does put a/n/k 'new value' --meta only=this
    prints 0 '{"only":"this"}'$'\n' get a/n/k --meta
    does put a/n/k v --meta twice=1 --meta twice=2
    prints 0 '{"twice":"2"}'$'\n' get a/n/k --meta
    does put a/n/new v --meta created=with
    prints 0 '{"created":"with"}'$'\n' get a/n/new --meta
    does put a/n/empty '' --meta a=1
    prints 0 '{"a":"1"}'$'\n' get a/n/empty --meta
    prints 1 $'null\n' get a/n/absent --meta
}

case_metadata_that_breaks_a_rule_is_refused() {
    does put a/n/k old --meta a=1
    refuses 2 '--meta|NAME=VALUE' put a/n/k new --meta novalue
    refuses 2 '--meta|NAME=VALUE' put a/n/k new --meta =x
    refuses 2 '--meta|1024 bytes' put a/n/k new --meta "a=$(symbols 1024)"
    refuses 2 '--meta|1024 bytes' put a/n/k new --meta "a=$(symbols 500)" --meta "b=$(symbols 513)"
    refuses 2 '--meta|250 bytes' put a/n/k new --meta "$(symbols 251)=x"
    refuses 2 '--meta|kvfs.' put a/n/k new --meta kvfs.version=1
    refuses 2 '--meta|UTF-8' put a/n/k new --meta $'a=\377'
    prints 0 old get a/n/k
    prints 0 '{"a":"1"}'$'\n' get a/n/k --meta
    does put a/n/k new --meta "$(symbols 250)=x"
    does put a/n/k new --meta "a=$(symbols 500)" --meta "b=$(symbols 512)"
}

# --------------------------------------------------------------------- output

case_output_that_cannot_be_written_is_an_error() {
    local command what status
    does put a/n/k value
    head -c 1000000 /dev/zero | kv put a/n/big
    does project create a/p
    does binding create a/p v n
    for command in 'get a/n/k' 'get a/n/big' 'get a/n/absent --type json' 'get a/n/k --meta' 'list a/n' \
        'list a/n --all' 'dump' 'dump a/n --format csv' 'incr a/n/count' 'account list' 'account show a' 'namespace list a' 'namespace show a/n' 'project list a' \
        'binding list a/p' '--help' '--version'; do
        what="kvctl $command >/dev/full"
        # shellcheck disable=SC2086
        kv $command >/dev/full 2>"$top/err"
        status=$?
        [ $status -eq 2 ] || wrong "$what: exit status $status"
        one_line_with 'standard output'
        what="kvctl $command >&-"
        # shellcheck disable=SC2086
        kv $command >&- 2>"$top/err"
        status=$?
        [ $status -eq 2 ] || wrong "$what: exit status $status"
        one_line_with 'standard output'
    done
    prints 0 value get a/n/k
}

case_a_closed_descriptor_never_lets_output_into_the_store() {
    head -c 100000 /dev/urandom >value
    does put a/n/k --file value
    kv get a/n/k >&- 2>/dev/null
    kv get a/n/k <&- >&- 2>&-
    kv get a/n/absent.key 2>&-
    kv put a/n/k2 --file value <&- >&- 2>&- || wrong "put: exit status $?"
    holds value a/n/k
    holds value a/n/k2
}

case_a_reader_that_goes_away_ends_kvctl_quietly() {
    KVFS_STORE=$many
    kv list m/n --all 2>"$top/err" | head -1 >out
    [ "$(cat out)" = w1_000 ] || wrong "the first key is $(cat out)"
    [ ! -s "$top/err" ] || wrong "said $(cat "$top/err")"
}

# ------------------------------------------------------------------ command line

case_help_names_every_command() {
    local words
    kv --help >out 2>"$top/err" || wrong "exit status $?"
    for words in 'put ACCOUNT/NAMESPACE/KEY' 'get ACCOUNT/NAMESPACE/KEY' 'delete ACCOUNT/NAMESPACE/KEY' \
        'list ACCOUNT/NAMESPACE' 'account create ACCOUNT' 'account delete ACCOUNT' 'account list' \
        'account show ACCOUNT' 'account limit ACCOUNT' 'namespace create ACCOUNT/NAMESPACE' \
        'rename ACCOUNT/NAMESPACE/KEY' 'incr ACCOUNT/NAMESPACE/KEY [OPTION...] [N]' 'append ACCOUNT/NAMESPACE/KEY' \
        'take ACCOUNT/NAMESPACE/KEY' 'ls [ACCOUNT[/NAMESPACE]]' 'dump [ACCOUNT[/NAMESPACE]]' \
        'load [ACCOUNT[/NAMESPACE]]' 'namespace delete ACCOUNT/NAMESPACE' 'namespace rename ACCOUNT/NAMESPACE NEW' 'namespace list ACCOUNT' \
        'namespace show ACCOUNT/NAMESPACE' 'project create ACCOUNT/PROJECT' 'project delete ACCOUNT/PROJECT' \
        'project list ACCOUNT' 'binding create ACCOUNT/PROJECT VARIABLE NAMESPACE' \
        'binding delete ACCOUNT/PROJECT VARIABLE' 'binding list ACCOUNT/PROJECT' \
        'env ACCOUNT/PROJECT --mount DIR' 'run ACCOUNT/PROJECT --mount DIR -- COMMAND...' \
        KVFS_STORE 'Exit status'; do
        grep -qF "$words" out || wrong "--help says nothing of $words"
    done
    [ ! -s "$top/err" ] || wrong "said $(cat "$top/err")"
    kv -h | cmp -s - out || wrong "-h is not --help"
    kv list --help >out || wrong "exit status $?"
    grep -qF -e '--limit N' out || wrong "list --help says nothing of --limit"
    grep -qF -e '--recursive' out && wrong "list --help tells of --recursive"
    kv namespace delete -h | grep -qF -e '--recursive' || wrong "namespace delete -h says nothing of --recursive"
}

case_help_is_a_command_too() {
    kv help >out || wrong "exit status $?"
    kv --help | cmp -s - out || wrong "help is not --help"
    kv help list >out || wrong "exit status $?"
    kv list --help | cmp -s - out || wrong "help list is not list --help"
    kv help namespace delete >out || wrong "exit status $?"
    kv namespace delete --help | cmp -s - out || wrong "help namespace delete is not namespace delete --help"
    refuses 2 'frobnicate|no such command|--help' help frobnicate
    kv help namespace >out || wrong "exit status $?"
    kv namespace --help | cmp -s - out || wrong "help namespace is not namespace --help"
    refuses 2 'surplus|one argument too many' help list surplus
}

case_help_needs_no_store() {
    unset KVFS_STORE
    kv --help >out || wrong "exit status $?"
    kv get --help >out || wrong "exit status $?"
    kv help get >out || wrong "exit status $?"
    kv -V >out || wrong "exit status $?"
    grep -qE '^kvctl [0-9]+\.[0-9]+' out || wrong "the version is $(cat out)"
    kv --version | cmp -s - out || wrong "--version is not -V"
    kv account list --version | cmp -s - out || wrong "--version is not answered after a command"
}

case_nothing_typed_is_answered_with_what_to_type() {
    local words
    kv >out 2>"$top/err" && wrong "it succeeded"
    kv --store x >out 2>err
    [ $? -eq 2 ] || wrong "another exit status than 2"
    cmp -s err "$top/err" || wrong "with --store it is another one"
    [ ! -s out ] || wrong "printed $(cat out)"
    for words in 'kvctl help ' 'account create' 'put get delete' ' txn ' ' env run'; do
        grep -qF -- "$words" err || wrong "it says nothing of $words: $(cat err)"
    done
    [ "$(wc -l <err)" -le 12 ] || wrong "it is long: $(wc -l <err) lines"
    ! grep -E '.{100}' err || wrong "a line is long"
}

case_a_command_line_that_makes_no_sense_is_refused() {
    refuses 2 'frobnicate|no such command|--help' frobnicate
    refuses 2 'account|--help' account
    refuses 2 'account frobnicate|no such command' account frobnicate
    refuses 2 'account-list|no such command' account-list
    refuses 2 'an argument is missing|ACCOUNT/NAMESPACE/KEY' get
    refuses 2 'an argument is missing|ACCOUNT/NAMESPACE NEW' namespace rename a/n
    refuses 2 'an argument is missing|ACCOUNT/PROJECT VARIABLE NAMESPACE' binding create a/p v
    refuses 2 'surplus|one argument too many|ACCOUNT/NAMESPACE/KEY [VALUE]' put a/n/k value surplus
    refuses 2 'surplus|one argument too many|type: kvctl account list' account list surplus
    refuses 2 '--frobnicate|no such option' --frobnicate
    refuses 2 '--frobnicate|no such option' get a/n/k --frobnicate
    refuses 2 '--limit|no such option' get a/n/k --limit 5
    refuses 2 '-x|no such option' get -x a/n/k
    refuses 2 '--all=yes|takes no value' list a/n --all=yes
    refuses 2 '--limit|takes a value' list a/n --limit
    refuses 2 '--store|takes a value' --store
    refuses 2 '' get $'a/n/\033[31m\nred'
}

case_the_store_is_named_by_option_or_environment() {
    does put a/n/k value
    cp -a "$KVFS_STORE" other
    does put a/n/k 'other value'
    prints 0 value --store other get a/n/k
    prints 0 value --store=other get a/n/k
    prints 0 value get --store other a/n/k
    prints 0 value get a/n/k --store other
    prints 0 'other value' get a/n/k
}

case_a_store_that_is_not_there_is_an_error() {
    local command
    unset KVFS_STORE
    without_store '--store DIR|KVFS_STORE' get a/n/k
    export KVFS_STORE=
    without_store '--store DIR|KVFS_STORE' get a/n/k
    export KVFS_STORE=$PWD/absent
    mkdir empty
    for command in 'get a/n/k' 'put a/n/k value' 'account list' 'account show a' 'account delete a' \
        'namespace create a/n' 'list a/n' 'project create a/p'; do
        # shellcheck disable=SC2086
        without_store "$KVFS_STORE" $command
        # shellcheck disable=SC2086
        without_store "empty" --store empty $command
    done
    [ ! -e absent ] || wrong "the directory was created"
    rmdir empty || wrong "something was created in the empty directory"
}

case_account_create_makes_the_store() {
    mkdir empty
    does --store absent account create first
    prints 0 $'first\n' --store absent account list
    does --store empty account create first
    does --store empty account create second
    prints 0 $'first\nsecond\n' --store empty account list
    without_store '1 to 64' --store another account create .bad
    [ ! -e another ] || wrong "a refused account left a store"
}

case_a_link_in_the_place_of_a_file_overwrites_nothing() {
    echo precious >victim
    rm "$KVFS_STORE/lock.mdb"
    ln -s "$PWD/victim" "$KVFS_STORE/lock.mdb"
    without_store 'symbolic link' account list
    without_store 'symbolic link' --foreign-store put a/n/k value
    [ "$(cat victim)" = precious ] || wrong "the file that the link names was changed"
    rm "$KVFS_STORE/lock.mdb"
    does put a/n/k value
}

case_a_store_that_others_have_rights_on_is_opened_only_when_told_to() {
    does put a/n/k value
    chmod 755 "$KVFS_STORE"
    without_store 'mode 0755|--foreign-store' get a/n/k
    prints 0 value get a/n/k --foreign-store
    prints 0 value --foreign-store get a/n/k
    chmod 700 "$KVFS_STORE"
    chmod 640 "$KVFS_STORE/data.mdb"
    without_store 'data.mdb (mode 0640)' put a/n/k new
    does --foreign-store put a/n/k new
    chmod 600 "$KVFS_STORE/data.mdb"
    prints 0 new get a/n/k
}

case_a_limit_of_file_sizes_is_a_full_disk() {
    local status
    head -c 25000000 /dev/zero >value
    (ulimit -f 16384 && exec timeout 120 "$kvctl" put a/n/k --file value) >"$top/out" 2>"$top/err"
    status=$?
    [ $status = 2 ] || wrong "exit status $status"
    what=put
    one_line_with "limit of file sizes" "nothing was changed"
    prints 1 "" get a/n/k
    does put a/n/k --file value
}

case_a_directory_with_other_things_in_it_is_no_store() {
    mkdir other
    echo precious >other/file
    without_store 'other' --store other account create a
    without_store 'other' --store other account list
    [ "$(ls other)" = file ] || wrong "the directory has now: $(ls other)"
    without_store 'file' --store other/file account list
    [ "$(cat other/file)" = precious ] || wrong "the file was changed"
}

# --------------------------------------------------------------------- mounted

case_a_mounted_store_is_read_and_changed() {
    [ -x "${KVFS_BIN:-}" ] || skip "there is no kvfs (KVFS_BIN)"
    [ -r /dev/fuse ] || skip "there is no /dev/fuse"
    mkdir -p "$mounted"
    timeout 60 "$KVFS_BIN" "$KVFS_STORE" "$mounted" || {
        wrong "the mount failed with exit status $?"
        return
    }
    does put a/n/by_kvctl value
    [ "$(cat "$mounted/a/n/by_kvctl")" = value ] || wrong "the mount does not show what kvctl put"
    printf 'from the mount' >"$mounted/a/n/by_mount"
    prints 0 'from the mount' get a/n/by_mount
    does project create a/p
    does binding create a/p my_kv n
    # shellcheck disable=SC2016 # the inner shell expands it
    prints 0 value run a/p --mount "$mounted" -- sh -c 'cat "$my_kv/by_kvctl"'
    kv list a/n --all >listed
    # shellcheck disable=SC2012 # it is ls that is compared
    ls "$mounted/a/n" | cmp -s - listed || wrong "ls and list --all do not agree"
    fusermount3 -u "$mounted" || wrong "the unmount failed"
    prints 0 'from the mount' get a/n/by_mount
}

# --------------------------------------------------------------------- running

many=$top/many
(
    KVFS_STORE=$many
    kv account create m && kv namespace create m/n || exit 1
    for worker in 1 2 3 4; do
        (
            for i in $(seq -w 000 099); do
                kv put "m/n/w${worker}_$i" "value $i of $worker" || exit 1
            done
        ) &
    done
    wait
)

run_kvctl "$@"
