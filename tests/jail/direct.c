/* Connects to an address and asks for a page of a host, like a program that knows neither proxies nor DNS. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return perror("connect"), 1;
    char text[4096];
    int length = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", argv[3]);
    if (write(fd, text, length) != length) return perror("write"), 1;
    while ((length = read(fd, text, sizeof text)) > 0) fwrite(text, 1, length, stdout);
    return length < 0 ? (perror("read"), 1) : 0;
}
