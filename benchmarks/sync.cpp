// What a synced write costs where a store would be: the floor of every durable answer.
//   sync FILE LABEL      4 KiB each, one after the other, into space that is already there
#include "measure.hpp"
#include "plan.hpp"
#include "poller.hpp"

#include <exception>
#include <fcntl.h>
#include <vector>

int main(int argc, char** argv) try {
  using namespace bench;
  if (argc != 3)
    throw std::invalid_argument("a file and a label");
  constexpr std::size_t page = 4096, pages = 256;
  constexpr int writes = 800;
  int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::vector<char> bytes(page * pages, 'x');
  if (fd < 0 || pwrite(fd, bytes.data(), bytes.size(), 0) < 0 || fsync(fd) < 0)
    fail(argv[1]);
  samples took;
  for (int i = 0; i < writes; ++i) {
    auto begin = now_ns();
    if (pwrite(fd, bytes.data(), page, static_cast<off_t>(i % pages * page)) < 0 ||
        fdatasync(fd) < 0)
      fail(argv[1]);
    took.add(now_ns() - begin);
  }
  std::printf(R"({"label":"%s","whole_us":%s})"
              "\n",
              argv[2], took.json().c_str());
  return unlink(argv[1]);
} catch (const std::exception& e) {
  std::fprintf(stderr, "sync: %s\n", e.what());
  return 2;
}
