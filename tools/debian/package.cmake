# Debian packages: kvfs, libkvfs-dev, and kvfs-dbgsym with what the programs are stripped of. They are made by
#
#     cmake --preset debian && cmake --build --preset debian && cpack --config build/debian/CPackConfig.cmake
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME kvfs)
set(CPACK_PACKAGE_VENDOR kvfs)
set(CPACK_PACKAGE_CONTACT "The authors of kvfs <kvfs@kvfs.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime devel debug)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_LIST_DIR}/finish.cmake")
set(CPACK_KVFS_SOURCE_DIR "${PROJECT_SOURCE_DIR}")

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME kvfs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS fuse3)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
    "${CMAKE_CURRENT_LIST_DIR}/postinst;${CMAKE_CURRENT_LIST_DIR}/postrm")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "key-value store that is mounted as a file system
kvfs mounts a key-value store: accounts and namespaces are directories, and
every key is a file whose content is the value. A write is atomic, and on
disk when the file is closed. kvctl reads and changes the same store, mounted
or not.")
set(CPACK_DEBIAN_DEVEL_PACKAGE_NAME libkvfs-dev)
set(CPACK_DEBIAN_DEVEL_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVEL_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVEL_PACKAGE_DEPENDS "liblmdb-dev, libxxhash-dev")
set(CPACK_DEBIAN_DEVEL_DESCRIPTION "library of the key-value store that kvfs mounts
The header and the static library by which programs use stores of kvfs
themselves, beside its mounts.")
set(CPACK_DEBIAN_DEBUG_PACKAGE_NAME kvfs-dbgsym)
set(CPACK_DEBIAN_DEBUG_PACKAGE_SECTION debug)
set(CPACK_DEBIAN_DEBUG_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEBUG_PACKAGE_DEPENDS "kvfs (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEBUG_DESCRIPTION "debug symbols for kvfs
What debuggers and profilers need to know of the programs of kvfs.")

# Debuggers find the symbols by the number that the linker has given each program.
foreach(program kvfs kvctl)
    install(CODE "
        execute_process(COMMAND \"${CMAKE_READELF}\" -n \"$<TARGET_FILE:${program}>\" OUTPUT_VARIABLE notes)
        string(REGEX MATCH \"Build ID: (..)([0-9a-f]+)\" id \"\${notes}\")
        set(name \"\${CMAKE_MATCH_1}/\${CMAKE_MATCH_2}.debug\")
        set(dir \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/debug/.build-id\")
        file(MAKE_DIRECTORY \"\${dir}/\${CMAKE_MATCH_1}\")
        execute_process(COMMAND \"${CMAKE_OBJCOPY}\" --only-keep-debug --compress-debug-sections
            \"$<TARGET_FILE:${program}>\" \"\${dir}/\${name}\" COMMAND_ERROR_IS_FATAL ANY)
        file(CHMOD \"\${dir}/\${name}\" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)"
        COMPONENT debug EXCLUDE_FROM_ALL)
endforeach()
include(CPack)
