//! Requests that wait for the device, in order. A request that is given up leaves the queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A bounded queue, from which jobs are taken in batches.
pub struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    capacity: usize,
}

struct State<J> {
    waiting: VecDeque<(u64, J)>,
    next: u64,
    closed: bool,
}

/// Why a job is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// There is no place.
    Full,
    /// Nothing is taken in any more.
    Closed,
}

/// A place in the queue, which is freed when this is dropped before the job is taken.
pub struct Place<J> {
    queue: Arc<Queue<J>>,
    number: u64,
}

impl<J> Queue<J> {
    /// An empty queue with so many places.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                next: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        })
    }

    /// Takes in a job.
    ///
    /// # Errors
    /// If there is no place, or the queue is closed.
    pub fn push(self: &Arc<Self>, job: J) -> Result<Place<J>, NotQueued> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotQueued::Closed);
        }
        if state.waiting.len() >= self.capacity {
            return Err(NotQueued::Full);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, job));
        self.changed.notify_one();
        Ok(Place {
            queue: self.clone(),
            number,
        })
    }

    /// Waits for a job, and takes it with those behind it that can run `together` with it and weigh
    /// no more than `limit` in all; the first is taken whatever it weighs. `None` once the queue is
    /// closed and empty.
    pub fn take(
        &self,
        limit: usize,
        weight: impl Fn(&J) -> usize,
        together: impl Fn(&J, &J) -> bool,
    ) -> Option<Vec<J>> {
        let mut state = self.lock();
        let first = loop {
            if let Some((_, first)) = state.waiting.pop_front() {
                break first;
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        let mut taken = weight(&first);
        let mut batch = vec![first];
        let mut at = 0;
        while let Some((_, job)) = state.waiting.get(at) {
            if !together(&batch[0], job) {
                at += 1;
                continue;
            }
            taken += weight(job);
            if taken > limit {
                break;
            }
            batch.extend(state.waiting.remove(at).map(|(_, job)| job));
        }
        Some(batch)
    }

    /// Takes in no more; what waits is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Drop for Place<J> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let waiting = &state.waiting;
        let at = waiting.binary_search_by_key(&self.number, |(number, _)| *number);
        let left = at.ok().and_then(|at| state.waiting.remove(at));
        drop(state);
        // What a job holds may take time to free.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(queue: &Queue<(char, usize)>, limit: usize) -> Option<Vec<(char, usize)>> {
        queue.take(limit, |job| job.1, |a, b| a.0 == b.0)
    }

    #[test]
    fn jobs_alike_are_taken_together_up_to_the_limit() {
        let queue = Queue::new(9);
        let jobs = [('a', 2), ('b', 1), ('a', 1), ('a', 3), ('a', 1)];
        let places: Vec<_> = jobs.iter().map(|job| queue.push(*job).unwrap()).collect();
        assert_eq!(batch(&queue, 4), Some(vec![('a', 2), ('a', 1)]));
        assert_eq!(batch(&queue, 4), Some(vec![('b', 1)]));
        // Alone it is taken even beyond the limit.
        assert_eq!(batch(&queue, 2), Some(vec![('a', 3)]));
        assert_eq!(batch(&queue, 2), Some(vec![('a', 1)]));
        drop(places);
        queue.close();
        assert_eq!(batch(&queue, 2), None);
    }

    #[test]
    fn a_full_queue_takes_no_more_until_a_place_is_given_up() {
        let queue = Queue::new(2);
        let first = queue.push(('a', 1)).unwrap();
        let second = queue.push(('a', 2)).unwrap();
        assert_eq!(queue.push(('a', 3)).err(), Some(NotQueued::Full));
        drop(first);
        assert_eq!(queue.len(), 1);
        let third = queue.push(('a', 4)).unwrap();
        assert_eq!(batch(&queue, 9), Some(vec![('a', 2), ('a', 4)]));
        // A place of a job that was taken frees no other's.
        let fourth = queue.push(('a', 5)).unwrap();
        drop((second, third));
        assert_eq!(queue.len(), 1);
        queue.close();
        assert_eq!(queue.push(('a', 6)).err(), Some(NotQueued::Closed));
        assert_eq!(batch(&queue, 9), Some(vec![('a', 5)]));
        drop(fourth);
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let queue = Queue::new(1);
        let waiting = queue.clone();
        let thread = std::thread::spawn(move || batch(&waiting, 1));
        let place = queue.push(('a', 1)).unwrap();
        assert_eq!(thread.join().unwrap(), Some(vec![('a', 1)]));
        drop(place);
    }
}
