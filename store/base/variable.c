/* Names of variables that the programs which get them obey.
 *
 * A binding becomes a variable in the environment of programs, and its value is a directory that the account's users
 * fill. So a binding named PATH, or PYTHONPATH, would run what they put there. The list holds what shells, the dynamic
 * loader, the C library, interpreters and other programs that run programs take from the environment, the names that a
 * shell keeps for itself (an assignment to UID fails, one to RANDOM is lost), and those in lower case that zsh and csh
 * tie to such a name. An entry with '*' at its end stands for all names that begin so. */
#include "store/kv.h"

#include <string.h>

static const char *const variable_obeyed[] = {
    /* shells */
    "_", "argv", "ARGV0", "BASH", "BASHOPTS", "BASHPID", "BASH_*", "CDPATH", "cdpath", "COLUMNS", "COMPREPLY",
    "COMP_*", "COPROC", "cwd", "DIRSTACK", "EDITOR", "EGID", "ENV", "EPOCHREALTIME", "EPOCHSECONDS", "ERRNO",
    "EUID", "EXECIGNORE", "FCEDIT", "FIGNORE", "fignore", "fish_*", "FPATH", "fpath", "FUNCNAME", "FUNCNEST",
    "GID", "GLOBIGNORE", "GLOBSORT", "GROUPS", "HISTCHARS", "histchars", "HISTCMD", "HISTCONTROL", "HISTFILE",
    "HISTFILESIZE", "HISTIGNORE", "HISTSIZE", "HISTTIMEFORMAT", "HOME", "home", "HOST", "HOSTNAME", "IFS",
    "IGNOREEOF", "INPUTRC", "INSIDE_EMACS", "LINENO", "LINES", "LOGNAME", "MACHTYPE", "MAIL", "MAILCHECK",
    "MAILPATH", "mailpath", "MANPATH", "manpath", "MAPFILE", "MODULE_PATH", "module_path", "NULLCMD", "OLDPWD",
    "OPTARG", "OPTERR", "OPTIND", "OSTYPE", "PATH", "path", "PIPESTATUS", "POSIXLY_CORRECT", "PPID", "PROMPT",
    "prompt", "PROMPT2", "PROMPT3", "PROMPT4", "PROMPT_COMMAND", "PROMPT_DIRTRIM", "PS1", "PS2", "PS3", "PS4",
    "psvar", "PWD", "RANDOM", "READLINE_*", "READNULLCMD", "REPLY", "RPROMPT", "SECONDS", "SHELL", "shell",
    "SHELLOPTS", "SHLVL", "SRANDOM", "status", "TIMEFORMAT", "TMOUT", "TMPPREFIX", "TRY_BLOCK_*", "UID", "USER",
    "USERNAME", "VISUAL", "WATCH", "watch", "WORDCHARS", "ZDOTDIR", "ZSH_*",
    /* dynamic loaders and the C library */
    "ASAN_*", "AUTHSTATE", "DYLD_*", "GCONV_PATH", "GCOV_*", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES",
    "LANG", "LANGUAGE", "LC_*", "LDR_*", "LD_*", "LIBPATH", "LLVM_PROFILE_FILE", "LOCALDOMAIN", "LOCPATH",
    "LSAN_*", "MALLOC_*", "MSAN_*", "MUSL_LOCPATH", "NIS_PATH", "NLSPATH", "OUTPUT_CHARSET", "PATH_LOCALE",
    "RESOLV_*", "RES_OPTIONS", "_RLD*", "SHLIB_PATH", "TEMP", "TEMPDIR", "TMP", "TMPDIR", "TSAN_*", "TZ", "TZDIR",
    "UBSAN_*",
    /* interpreters and compilers */
    "AWKLIBPATH", "AWKPATH", "BUNDLE_*", "CARGO_*", "CLASSPATH", "COMPILER_PATH", "COMPlus_*", "CORECLR_*",
    "CPATH", "CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH", "DENO_*", "DOTNET_*", "ERL_*", "GCC_EXEC_PREFIX", "GEM_HOME",
    "GEM_PATH", "GEM_SKIP", "GOBIN", "GODEBUG", "GOENV", "GOFLAGS", "GOPATH", "GOROOT", "GUILE_*", "JAVA_HOME",
    "JAVA_OPTIONS", "_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JULIA_*", "LIBRARY_PATH",
    "LUA_CPATH*", "LUA_INIT*", "LUA_PATH*", "MAKEFILES", "MAKEFLAGS", "MFLAGS", "MONO_*", "NODE_COMPILE_CACHE",
    "NODE_DEBUG", "NODE_EXTRA_CA_CERTS", "NODE_ICU_DATA", "NODE_OPTIONS", "NODE_PATH", "NODE_PENDING_*",
    "NODE_REPL_*", "NODE_V8_COVERAGE", "npm_*", "NPM_CONFIG_*", "PERL5*", "PERLIO*", "PERLLIB", "PERL_*", "PHPRC",
    "PHP_INI_SCAN_DIR", "PIP_*", "PYTHON*", "RUBY*", "RUSTC*", "RUSTFLAGS", "RUSTUP_*", "R_ENVIRON",
    "R_ENVIRON_USER", "R_HOME", "R_LIBS", "R_LIBS_USER", "R_PROFILE", "R_PROFILE_USER", "TCLLIBPATH",
    "TCL_LIBRARY", "VIRTUAL_ENV",
    /* what runs, finds or asks other programs */
    "ALL_PROXY", "all_proxy", "BROWSER", "CREDENTIALS_DIRECTORY", "CURL_*", "DBUS_*", "DISPLAY", "DLC_ACE",
    "DOCKER_*", "FTP_PROXY", "ftp_proxy", "GDK_PIXBUF_MODULE*", "GIO_*", "GIT_*", "GNUPGHOME", "GSETTINGS_*",
    "GST_PLUGIN_*", "GTK_MODULES", "GTK_PATH", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy",
    "JOURNAL_STREAM", "KRB5*", "KUBECONFIG", "KVFS_*", "LESS", "LESSCHARSET", "LESSCLOSE", "LESSKEY", "LESSOPEN",
    "LIBGL_*", "LISTEN_*", "LS_COLORS", "MAINPID", "MANPAGER", "MESA_*", "NOTIFY_SOCKET", "NO_PROXY", "no_proxy",
    "OPENSSL_*", "PAGER", "PKG_CONFIG*", "QT_PLUGIN_PATH", "QT_QPA_*", "RSYNC_*", "SSH_*", "SSLKEYLOGFILE",
    "SSL_CERT_*", "SUDO_*", "SYSTEMD_*", "TERM", "TERMCAP", "TERMINFO*", "TERMPATH", "USR_ACE", "VAR_ACE",
    "WATCHDOG_*", "WAYLAND_*", "WGETRC", "XAUTHORITY", "XDG_*"};

bool kv_variable_is_safe(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(variable_obeyed) / sizeof(variable_obeyed[0]); i++) {
        const char *entry = variable_obeyed[i];
        size_t length = strlen(entry);
        bool begins = entry[length - 1] == '*';

        length -= begins;
        if ((begins ? size >= length : size == length) && memcmp(entry, name, length) == 0)
            return false;
    }
    return true;
}
