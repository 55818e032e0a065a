"""What people send in becomes what people watch: rtmp, live, hls, and later images, uploads and the library."""
