# Completion of kvctl and kvfs for bash. `candidates`, installed beside, knows what can be there.
_kvfs_candidates=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../kvfs" && pwd)/candidates

_kvfs_complete() {
    local line word current=${COMP_WORDS[COMP_CWORD]}
    # bash splits words at '=' and ':', too, and wants only the last part of what it has split.
    local -a words=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if ((${#words[@]})) && [[ $word == [=:]* || ${words[-1]} == *[=:] ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    [[ $current != [=:] ]] || current=
    local before=${words[-1]%"$current"}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        @directories) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        @files) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        */ | *=) compopt -o nospace && COMPREPLY+=("${line#"$before"}") ;;
        *) COMPREPLY+=("${line#"$before"}") ;;
        esac
    done < <("$_kvfs_candidates" "$1" "${words[@]}" 2>/dev/null)
}
complete -F _kvfs_complete kvctl kvfs
