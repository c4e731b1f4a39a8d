// Goal: descriptors move all bytes, and whoever waits on a silent pipe wakes. Method: real pipes.
#include "flow/descriptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "flow/file_stream.h"
#include "flow/thread.h"
#include "sealane/store/system.h"

namespace sealane::flow {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    out = OwnedDescriptor(ends[0]);
    in = OwnedDescriptor(ends[1]);
  }
  OwnedDescriptor out;  // read here
  OwnedDescriptor in;   // write here
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + 7);
  return bytes;
}

TEST(Descriptor, APipeCarriesMoreThanItHolds) {
  Pipe pipe;
  const Bytes sent = pattern(5'000'001);
  Thread writer([&] {
    DescriptorSink sink(pipe.in.get(), "the pipe", nullptr);
    EXPECT_TRUE(sink.write(sent).has_value());
    pipe.in.reset();
  });
  DescriptorSource source(pipe.out.get(), "the pipe", nullptr);
  Bytes got;
  Bytes buffer(100'000);
  for (;;) {
    auto size = source.read(buffer);
    ASSERT_TRUE(size.has_value());
    if (size.value() == 0) break;
    const auto part = ByteSpan(buffer).first(size.value());
    got.insert(got.end(), part.begin(), part.end());
  }
  writer.join();
  EXPECT_TRUE(got == sent);
}

TEST(Descriptor, APipeIsNotPositional) {
  const Pipe pipe;
  EXPECT_EQ(DescriptorSource(pipe.out.get(), "the pipe", nullptr).positional(), nullptr);
}

TEST(Descriptor, TheGivenPipeKeepsItsFlags) {
  const Pipe pipe;
  const int before = ::fcntl(pipe.in.get(), F_GETFL);
  DescriptorSink sink(pipe.in.get(), "the pipe", nullptr);
  ASSERT_TRUE(sink.write(pattern(10)).has_value());
  EXPECT_EQ(::fcntl(pipe.in.get(), F_GETFL), before);
}

TEST(Descriptor, CancellationWakesAReaderAndAWriter) {
  const Pipe silent;
  const Pipe full;
  Cancellation cancel;
  Thread reader([&] {
    DescriptorSource source(silent.out.get(), "the pipe", &cancel);
    Bytes buffer(10);
    const auto got = source.read(buffer);
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().kind, ErrorKind::kInterrupted);
  });
  Thread writer([&] {
    DescriptorSink sink(full.in.get(), "the pipe", &cancel);
    const auto put = sink.write(pattern(10'000'000));
    ASSERT_FALSE(put.has_value());
    EXPECT_EQ(put.error().kind, ErrorKind::kInterrupted);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cancel.cancel();
  reader.join();
  writer.join();
}

TEST(Descriptor, InterruptWakesAReaderAndAWriter) {
  const Pipe silent;
  const Pipe full;
  DescriptorSource source(silent.out.get(), "the pipe", nullptr);
  DescriptorSink sink(full.in.get(), "the pipe", nullptr);
  Thread reader([&] {
    Bytes buffer(10);
    EXPECT_FALSE(source.read(buffer).has_value());
  });
  Thread writer([&] { EXPECT_FALSE(sink.write(pattern(10'000'000)).has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  source.interrupt();
  sink.interrupt();
  reader.join();
  writer.join();
}

TEST(Descriptor, AReaderThatWentAwayIsAnErrorThatNamesThePipe) {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.out.reset();
  DescriptorSink sink(pipe.in.get(), "standard output", nullptr);
  const auto put = sink.write(pattern(10));
  ASSERT_FALSE(put.has_value());
  EXPECT_NE(put.error().message.find("standard output"), std::string::npos);
  EXPECT_NE(put.error().message.find("the reader ended"), std::string::npos);
}

TEST(Descriptor, AFullDiskSaysSo) {
  const OwnedDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  DescriptorSink sink(full.get(), "/dev/full", nullptr);
  const auto put = sink.write(pattern(10));
  ASSERT_FALSE(put.has_value());
  EXPECT_NE(put.error().message.find("free some space"), std::string::npos);
}

TEST(FileStream, ReadsAndWritesAtAnyPlace) {
  const std::string path =
      ::testing::TempDir() + "sealane_file_stream_" + std::to_string(::getpid());
  auto file = system_files().open(path, OpenMode::kCreateExclusive);
  ASSERT_TRUE(file.has_value());
  const Bytes content = pattern(100);
  FileSink sink(*file.value());
  ASSERT_NE(sink.positional(), nullptr);
  ASSERT_TRUE(sink.positional()->write_at(50, ByteSpan(content).subspan(50)).has_value());
  ASSERT_TRUE(sink.positional()->write_at(0, ByteSpan(content).first(50)).has_value());
  FileSource source(*file.value());
  Bytes read(200);
  EXPECT_EQ(source.positional()->read_at(10, read).value(), 90U);
  EXPECT_TRUE(std::ranges::equal(ByteSpan(read).first(90), ByteSpan(content).subspan(10)));
  // What read() gave is behind offset 0.
  EXPECT_EQ(source.read(MutableByteSpan(read).first(30)).value(), 30U);
  EXPECT_EQ(source.positional()->read_at(5, read).value(), 65U);
  EXPECT_EQ(read[0], content[35]);
  EXPECT_EQ(source.read(read).value(), 70U);
  EXPECT_EQ(source.read(read).value(), 0U);

  // The same by a descriptor, as of a redirected standard input.
  const OwnedDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  DescriptorSource redirected(descriptor.get(), "standard input", nullptr);
  EXPECT_EQ(redirected.read(MutableByteSpan(read).first(30)).value(), 30U);
  ASSERT_NE(redirected.positional(), nullptr);
  EXPECT_EQ(redirected.positional()->read_at(5, read).value(), 65U);
  EXPECT_EQ(read[0], content[35]);
  EXPECT_TRUE(system_files().remove(path).has_value());
}

}  // namespace
}  // namespace sealane::flow
