# Called by cpack between the installation below CPACK_TEMPORARY_DIRECTORY and the packing, for what Debian has rules of
# its own: manual pages and changelogs are compressed, and functions of zsh lie in another directory.
set(debian "${CPACK_KVFS_SOURCE_DIR}/tools/debian")

foreach(component runtime devel debug)
    set(top "${CPACK_TEMPORARY_DIRECTORY}/${component}/usr")
    string(TOUPPER ${component} upper)
    set(docs "${top}/share/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME}")
    file(MAKE_DIRECTORY "${docs}")
    file(COPY_FILE "${debian}/copyright" "${docs}/copyright")
    file(COPY_FILE "${debian}/changelog" "${docs}/changelog")
    file(GLOB compressed "${docs}/changelog" "${top}/share/man/man?/*.?")
    foreach(file IN LISTS compressed)
        execute_process(COMMAND gzip -9nf "${file}" COMMAND_ERROR_IS_FATAL ANY)
        file(CHMOD "${file}.gz" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    endforeach()
    file(CHMOD "${docs}/copyright" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    if(IS_DIRECTORY "${top}/share/zsh/site-functions")
        file(RENAME "${top}/share/zsh/site-functions" "${top}/share/zsh/vendor-completions")
    endif()
    file(CHMOD_RECURSE "${top}/share/doc" DIRECTORY_PERMISSIONS
        OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE
        FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
