// Boost.Interprocess, for peers/boost.rs. No exception gets out: what fails says so by its result.

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>

using boost::interprocess::create_only;
using boost::interprocess::interprocess_mutex;
using boost::interprocess::interprocess_semaphore;
using boost::interprocess::interprocess_sharable_mutex;
using boost::interprocess::message_queue;

namespace {

// As the Rust side has it.
constexpr std::size_t room = 1 << 17;
constexpr std::size_t alignment = 128;

using message = std::array<std::uint64_t, 8>;
using ring = boost::lockfree::spsc_queue<message, boost::lockfree::capacity<1024>>;

template <typename Work>
bool succeeds(Work work) noexcept {
    try {
        work();
        return true;
    } catch (const std::exception &error) {
        std::cerr << "Boost: " << error.what() << '\n';
        return false;
    }
}

template <typename T, typename... Args>
void make(void *memory, Args... args) noexcept {
    static_assert(sizeof(T) <= room && alignof(T) <= alignment, "does not fit");
    new (memory) T(args...);
}

template <typename T>
T &in(void *memory) noexcept {
    return *static_cast<T *>(memory);
}

} // namespace

extern "C" {

void peers_boost_mutex(void *memory) noexcept { make<interprocess_mutex>(memory); }
bool peers_boost_lock(void *it) noexcept { return succeeds([&] { in<interprocess_mutex>(it).lock(); }); }
bool peers_boost_unlock(void *it) noexcept { return succeeds([&] { in<interprocess_mutex>(it).unlock(); }); }

void peers_boost_sharable(void *memory) noexcept { make<interprocess_sharable_mutex>(memory); }
bool peers_boost_write(void *it) noexcept { return succeeds([&] { in<interprocess_sharable_mutex>(it).lock(); }); }
bool peers_boost_end_write(void *it) noexcept { return succeeds([&] { in<interprocess_sharable_mutex>(it).unlock(); }); }
bool peers_boost_read(void *it) noexcept { return succeeds([&] { in<interprocess_sharable_mutex>(it).lock_sharable(); }); }
bool peers_boost_end_read(void *it) noexcept {
    return succeeds([&] { in<interprocess_sharable_mutex>(it).unlock_sharable(); });
}

void peers_boost_semaphore(void *memory, unsigned permits) noexcept { make<interprocess_semaphore>(memory, permits); }
bool peers_boost_wait(void *it) noexcept { return succeeds([&] { in<interprocess_semaphore>(it).wait(); }); }
bool peers_boost_post(void *it) noexcept { return succeeds([&] { in<interprocess_semaphore>(it).post(); }); }

void peers_boost_spsc(void *memory) noexcept { make<ring>(memory); }

// Whether there was room.
bool peers_boost_push(void *it, const void *from) noexcept {
    message copy;
    std::memcpy(copy.data(), from, sizeof copy);
    return in<ring>(it).push(copy);
}

// Whether there was a message.
bool peers_boost_pop(void *it, void *to) noexcept {
    message copy;
    if (!in<ring>(it).pop(copy)) {
        return false;
    }
    std::memcpy(to, copy.data(), sizeof copy);
    return true;
}

// A queue for this process and those it forks: the name is gone when this returns. Null if it fails.
void *peers_boost_new(const char *name, std::size_t messages, std::size_t size) noexcept {
    message_queue *queue = nullptr;
    succeeds([&] {
        message_queue::remove(name);
        queue = new message_queue(create_only, name, messages, size);
        message_queue::remove(name);
    });
    return queue;
}

void peers_boost_drop(void *queue) noexcept { delete static_cast<message_queue *>(queue); }

bool peers_boost_send(void *queue, const void *message, std::size_t size) noexcept {
    return succeeds([&] { in<message_queue>(queue).send(message, size, 0); });
}

// Whether a message of just this size came.
bool peers_boost_receive(void *queue, void *message, std::size_t size) noexcept {
    std::size_t received = 0;
    unsigned priority = 0;
    return succeeds([&] { in<message_queue>(queue).receive(message, size, received, priority); }) && received == size;
}
}
