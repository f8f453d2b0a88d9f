// The other side of tests/languages.rs: doubles samples, and turns a message round.
#include "../check.h"

struct sample {
    double weight[3];
    uint32_t id, kind;
};
_Static_assert(sizeof(struct sample) == 32 && _Alignof(struct sample) == 8, "as in Rust");

int main(int count, char **names) {
    begin();
    CHECK(count == 4);
    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    shmkit_ring *there, *back;
    shmkit_queue *bytes;
    OK(shmkit_ring_open(NULL, names[1], &type, &there));
    OK(shmkit_ring_open(NULL, names[2], &type, &back));
    IS(SHMKIT_TYPE_MISMATCH, shmkit_ring_open(NULL, names[2], &shmkit_f64, &back));
    OK(shmkit_queue_open(NULL, names[3], &bytes));
    for (int i = 0; i < 20; i++) {
        struct sample sample;
        OK(shmkit_ring_pop(there, &sample, LONG));
        for (int k = 0; k < 3; k++) sample.weight[k] *= 2;
        sample.id++;
        OK(shmkit_ring_push(back, &sample, LONG));
    }
    unsigned char message[300], reversed[300];
    size_t size;
    OK(shmkit_queue_get(bytes, message, sizeof message, &size, LONG));
    CHECK(size == sizeof message);
    for (size_t i = 0; i < size; i++) reversed[i] = message[size - 1 - i];
    OK(shmkit_queue_put(bytes, reversed, size, LONG));
    OK(shmkit_ring_close(there));
    OK(shmkit_ring_close(back));
    OK(shmkit_queue_close(bytes));
    return 0;
}
