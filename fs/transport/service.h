/* What the daemon tells whoever manages services, as systemd does with Type=notify. */
#ifndef KVFS_FS_TRANSPORT_SERVICE_H
#define KVFS_FS_TRANSPORT_SERVICE_H

/* Take the address from the environment, which programs that are started shall not find there. Before there are other
 * threads. */
void fs_service_begin(void);

/* Send lines NAME=VALUE, as sd_notify(3) has them. Nothing happens where nobody asked for it. Does not wait.
 * threads  any */
void fs_service_tell(const char *lines);
/* The same for a service that begins to read its settings anew, and will tell READY=1 when it has. */
void fs_service_tell_reload(void);

#endif
