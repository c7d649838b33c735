// A fuzzer without libFuzzer: feeds it the files of the folders that are named, and nothing. So
// what was found once is tested wherever the tests are, and the fuzzers are compiled by every
// compiler.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** folders) {
  std::size_t fed = 0;
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (int i = 1; i < count; ++i)
    for (auto& entry : std::filesystem::directory_iterator{folders[i]}) {
      std::ifstream file{entry.path(), std::ios::binary};
      std::string input{std::istreambuf_iterator<char>{file}, {}};
      // Before it: the last one named is the one that failed.
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
      ++fed;
    }
  if (fed == 0)
    std::fprintf(stderr, "there was nothing to feed\n");
  return fed == 0 ? 1 : 0;
}
