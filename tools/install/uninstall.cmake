# usage: cmake -P uninstall.cmake, in the build directory
#
# Take away what `cmake --install` has put somewhere the last time. Directories stay.
file(STRINGS install_manifest.txt files)
foreach(file IN LISTS files)
    message(STATUS "Removing: $ENV{DESTDIR}${file}")
    file(REMOVE "$ENV{DESTDIR}${file}")
endforeach()
