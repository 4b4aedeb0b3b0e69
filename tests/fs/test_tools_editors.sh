#!/bin/bash
# Editors in a terminal (tmux): a save leaves the key with its new bytes, and nothing beside it.
case_seconds=240
. "$(dirname "$0")/../support/tools.sh"

# Its name is short, since the path of a socket is.
terminal() { tmux -f /dev/null -S t "$@"; }

screen_shows() { terminal capture-pane -p | grep -qF -e "$1"; }

no_terminal() { ! terminal has-session 2>/dev/null; }

# edit COMMAND...: run an editor in a terminal of its own
edit() {
    need tmux "$1"
    HOME=$PWD/home
    export HOME
    mkdir -p "$HOME"
    trap 'terminal kill-server 2>/dev/null' EXIT
    terminal new-session -d -x 80 -y 24 "$(printf '%q ' "$@")" || wrong "tmux: exit status $?"
}

# type_when TEXT KEY...: type once the screen shows TEXT
type_when() {
    wait_until screen_shows "$1" || terminal capture-pane -p
    shift
    terminal send-keys "$@" || wrong "tmux send-keys: exit status $?"
}

# The editor ends.
edited() {
    wait_until no_terminal || terminal capture-pane -p
}

# -------------------------------------------------------------------------------- vim

case_vim_saves_a_key() {
    ready
    printf 'one\ntwo\n' >"$n/k"
    chmod 640 "$n/k"
    edit vim -i NONE "$n/k"
    type_when 'two' G o three Escape
    type_when 'three' :wq Enter
    edited
    printf 'one\ntwo\nthree\n' >wanted
    holds wanted k
    only k
    same 640 stat -c %a "$n/k"
    same "" ls -A home
}

case_vim_makes_a_new_key() {
    ready
    edit vim -i NONE "$n/fresh"
    type_when '[New]' i hello Escape
    type_when 'hello' :x Enter
    edited
    says hello fresh
    only fresh
}

case_vim_saves_several_times_and_quits_without_saving() {
    ready
    echo 0 >"$n/k"
    edit vim -i NONE "$n/k"
    type_when '0' C 1 Escape :w Enter
    type_when 'written' C 2 Escape :w Enter
    wait_until grep -qx 2 "$n/k"
    says 2 k
    terminal send-keys C 3 Escape :q! Enter
    edited
    says 2 k
    only k
}

case_vim_keeps_its_swap_file_on_this_node() {
    ready
    echo text >"$n/k"
    edit vim -i NONE "$n/k"
    type_when 'text' i more Escape
    wait_until test -e "$n/.k.swp"
    same k kv list a/n --all
    type_when 'more' :q! Enter
    edited
    only k
    says text k
}

case_vim_edits_two_keys_and_saves_under_another_name() {
    ready
    echo one >"$n/a"
    echo two >"$n/b"
    edit vim -i NONE "$n/a" "$n/b"
    type_when 'one' A ! Escape :wnext Enter
    type_when 'two' A ! Escape ":w $n/c" Enter
    wait_until test -s "$n/c"
    terminal send-keys :wqa Enter
    edited
    says 'one!' a
    says 'two!' b
    says 'two!' c
    only a b c
}

# Each of these settings writes by other system calls.
vim_with() {
    local setting
    printf 'old\n' >"$n/k"
    for setting; do
        edit vim -i NONE -c "set $setting" "$n/k"
        type_when 'old' C new Escape
        type_when 'new' :wq Enter
        edited
        says new k
        only k
        echo old >"$n/k"
    done
}

case_vim_with_any_way_of_writing() {
    ready
    vim_with backupcopy=yes backupcopy=no nowritebackup 'noswapfile' 'fsync'
}

case_vim_saves_a_large_key() {
    ready
    seq 200000 >"$n/k"
    edit vim -i NONE "$n/k"
    type_when '200000L' Escape G dd :wq Enter
    edited
    seq 199999 >wanted
    holds wanted k
    only k
}

case_ex_edits_by_commands() {
    need vim
    ready
    seq 10 >"$n/k"
    vim -i NONE -es -c '%s/1/one/' -c 'wq' "$n/k" </dev/null >out 2>&1 || wrong "vim -es: exit status $?"
    seq 10 | sed s/1/one/ >wanted
    holds wanted k
    only k
}

# ------------------------------------------------------------------------------- nano

case_nano_saves_a_key() {
    ready
    printf 'one\ntwo\n' >"$n/k"
    chmod 640 "$n/k"
    edit nano "$n/k"
    type_when 'two' zero Enter C-o
    type_when 'Write' Enter
    type_when 'Wrote' C-x
    edited
    printf 'zero\none\ntwo\n' >wanted
    holds wanted k
    only k
    same 640 stat -c %a "$n/k"
}

case_nano_makes_a_new_key() {
    ready
    edit nano "$n/fresh"
    type_when '^X Exit' hello C-x
    type_when 'Save modified buffer' y
    type_when 'Write' Enter
    edited
    says hello fresh
    only fresh
}

# It does not make its lock file as temporary files are made, so that it is told from a lost value.
case_nano_says_that_it_cannot_lock_and_saves_all_the_same() {
    ready
    echo text >"$n/k"
    edit nano --locking "$n/k"
    type_when 'Error writing lock file' more Enter
    type_when 'more' C-o
    type_when 'Write' Enter
    type_when 'Wrote' C-x
    edited
    printf 'more\ntext\n' >wanted
    holds wanted k
    only k
}

run_cases "$@"
