//! The allocator of a contract: most calls never need more memory than they begin with.
//!
//! An invocation is short and its memory is thrown away as a whole, so what it allocates is cut off
//! a fixed piece of memory, one after the other, and only the newest piece is ever given back. When
//! that memory is used up, the standard library's allocator goes on. A memory that grows costs the
//! peer system calls, before and after the invocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Bytes that a contract has without asking for more memory.
pub(crate) const ARENA_BYTES: usize = 256 << 10;

/// An allocator for a program with one thread.
#[repr(align(16))]
pub(crate) struct Arena {
    memory: UnsafeCell<[u8; ARENA_BYTES]>,
    used: Cell<usize>,
}

impl Arena {
    /// An arena of which nothing is used.
    pub(crate) const fn new() -> Self {
        Self {
            memory: UnsafeCell::new([0; ARENA_BYTES]),
            used: Cell::new(0),
        }
    }

    fn start(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    /// Where in the arena a pointer lies; nothing when it is not one of the arena's.
    fn place(&self, pointer: *mut u8) -> Option<usize> {
        let place = pointer.addr().wrapping_sub(self.start().addr());
        (place < ARENA_BYTES).then_some(place)
    }

    /// Cuts off so many bytes.
    fn cut(&self, layout: Layout) -> Option<*mut u8> {
        let start = self.start().addr();
        let place = (start + self.used.get()).next_multiple_of(layout.align()) - start;
        let end = place.checked_add(layout.size())?;
        if end > ARENA_BYTES {
            return None;
        }
        self.used.set(end);
        Some(self.start().wrapping_add(place))
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the allocator of the whole program is shared")]
// SAFETY: a contract has one thread: `chaincode.wit` has none to offer, and the host refuses modules
// with shared memories.
unsafe impl Sync for Arena {}

#[allow(unsafe_code, reason = "an allocator hands out memory")]
// SAFETY: pieces that `cut` returns lie inside `memory`, aligned, each after all that are in use:
// `used` only ever goes back to the start of the newest piece, when that is given back. What lies
// elsewhere came from `System`, and goes back to it with its own layout.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            Some(pointer) => pointer,
            // SAFETY: the caller's promises are `System`'s.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.place(pointer) {
            Some(place) if place + layout.size() == self.used.get() => self.used.set(place),
            Some(_) => {}
            // SAFETY: it came from `System`, with this layout.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(place) = self.place(pointer) else {
            // SAFETY: it came from `System`, with this layout.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        if place + layout.size() == self.used.get() && size <= ARENA_BYTES - place {
            self.used.set(place + size);
            return pointer;
        }
        if size <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller promises that the new size is valid for this alignment, and both pieces
        // have the bytes that are copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(pointer, layout.size());
            }
            new
        }
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "an allocator is called so")]
mod tests {
    use super::*;

    struct Piece {
        pointer: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Piece {
        fn fill(&self) {
            // SAFETY: the piece was allocated with this layout.
            unsafe { self.pointer.write_bytes(self.mark, self.layout.size()) };
        }

        fn is_whole(&self, bytes: usize) -> bool {
            // SAFETY: it was filled, so it is initialized.
            let found = unsafe { std::slice::from_raw_parts(self.pointer, bytes) };
            self.pointer.addr().is_multiple_of(self.layout.align())
                && found.iter().all(|byte| *byte == self.mark)
        }
    }

    /// Numbers without a pattern, the same every time.
    fn next(state: &mut u64) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) as usize
    }

    #[test]
    fn pieces_never_overlap_whatever_is_given_back_or_resized() {
        let (arena, mut state) = (Box::new(Arena::new()), 7);
        let mut pieces: Vec<Piece> = Vec::new();
        let mut outside = 0;
        for step in 0..20_000 {
            let layout =
                Layout::from_size_align(1 + next(&mut state) % 900, 1 << (next(&mut state) % 5))
                    .unwrap();
            match next(&mut state) % 5 {
                0 if !pieces.is_empty() => {
                    let piece = pieces.swap_remove(next(&mut state) % pieces.len());
                    assert!(piece.is_whole(piece.layout.size()));
                    // SAFETY: it was allocated here, with this layout.
                    unsafe { arena.dealloc(piece.pointer, piece.layout) };
                }
                1 if !pieces.is_empty() => {
                    let index = next(&mut state) % pieces.len();
                    let piece = &mut pieces[index];
                    let old = piece.layout;
                    piece.layout = Layout::from_size_align(layout.size(), old.align()).unwrap();
                    // SAFETY: it was allocated here, with the old layout.
                    piece.pointer =
                        unsafe { arena.realloc(piece.pointer, old, piece.layout.size()) };
                    assert!(piece.is_whole(old.size().min(piece.layout.size())));
                    piece.fill();
                }
                _ => {
                    // SAFETY: no layout is empty.
                    let pointer = unsafe { arena.alloc(layout) };
                    outside += usize::from(arena.place(pointer).is_none());
                    let mark = (step % 251) as u8;
                    pieces.push(Piece {
                        pointer,
                        layout,
                        mark,
                    });
                    pieces.last().unwrap().fill();
                }
            }
        }
        assert!(outside > 0);
        for piece in pieces {
            assert!(piece.is_whole(piece.layout.size()));
            // SAFETY: it was allocated here, with this layout.
            unsafe { arena.dealloc(piece.pointer, piece.layout) };
        }
    }

    #[test]
    fn the_newest_piece_grows_in_place_and_is_given_back() {
        let arena = Box::new(Arena::new());
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: pieces are given back as they were allocated.
        unsafe {
            let first = arena.alloc(layout);
            let second = arena.alloc(layout);
            assert_eq!(arena.realloc(second, layout, 4_096), second);
            let larger = Layout::from_size_align(4_096, 8).unwrap();
            arena.dealloc(second, larger);
            assert_eq!(arena.alloc(layout), second);
            assert_ne!(arena.realloc(first, layout, 4_096), first);
        }
    }
}
