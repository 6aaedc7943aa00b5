//! One stream's queue, bounded in bytes, and the watchers that wait for room in it.
use std::collections::{BTreeSet, VecDeque};

use super::{Delivery, HubOptions, WatcherId};

/// A stream: its watchers and what they are to be told, in order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) watchers: BTreeSet<WatcherId>,
    /// Watchers that are behind and found no room; they are not caught up until there is some.
    /// Empty when the queue is.
    pub(super) blocked: BTreeSet<WatcherId>,
    queue: VecDeque<Delivery>,
    bytes: usize,
}

/// The bytes and deliveries that all streams of a hub have queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) queued: usize,
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Stream {
    /// Whether a delivery of this size may join. Into an empty queue anything may: a main revision cannot
    /// be split, so refusing it once would refuse it for ever.
    pub(super) fn fits(&self, bytes: usize, total: &Total, options: &HubOptions) -> bool {
        self.queue.is_empty() || self.has_room_for(bytes, total, options)
    }

    /// The same without the exception. What can be split is, also for an empty queue: a thousand streams that
    /// stand still would hold a thousand times whatever one catch-up step reads.
    pub(super) fn has_room_for(&self, bytes: usize, total: &Total, options: &HubOptions) -> bool {
        self.bytes + bytes <= self.bytes_max(bytes, total, options)
    }

    /// Whether so much has been taken that it pays to read history again for the blocked.
    pub(super) fn has_room(&self, total: &Total, options: &HubOptions) -> bool {
        self.queue.is_empty() || self.bytes <= self.bytes_max(0, total, options) / 2
    }

    fn bytes_max(&self, joining: usize, total: &Total, options: &HubOptions) -> usize {
        let shared_room = total.bytes + joining <= options.total_bytes_max;
        if shared_room {
            options.stream_bytes_max
        } else {
            options.stream_bytes_min.min(options.stream_bytes_max)
        }
    }

    /// Joins the end of the queue.
    pub(super) fn push(&mut self, delivery: Delivery, total: &mut Total) {
        let bytes = delivery.bytes();
        self.bytes += bytes;
        total.bytes += bytes;
        total.queued += 1;
        total.events += delivery.events();
        self.queue.push_back(delivery);
    }

    /// From the front: at least one if there is any, otherwise what stays within `bytes_max`.
    pub(super) fn take(&mut self, bytes_max: usize, total: &mut Total) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(delivery) = self.queue.front() {
            bytes += delivery.bytes();
            if !taken.is_empty() && bytes > bytes_max {
                break;
            }
            taken.extend(self.queue.pop_front());
        }
        self.forget(&taken, total);
        taken
    }

    /// Drops what is queued for one watcher, or for the stream as a whole.
    pub(super) fn purge(&mut self, watcher: Option<WatcherId>, total: &mut Total) {
        let (gone, kept): (Vec<_>, _) =
            self.queue.drain(..).partition(|delivery| delivery.watcher == watcher);
        self.queue = kept.into();
        self.forget(&gone, total);
    }

    /// Drops everything that is queued.
    pub(super) fn clear(&mut self, total: &mut Total) {
        let gone = Vec::from(std::mem::take(&mut self.queue));
        self.forget(&gone, total);
    }

    pub(super) fn queue(&self) -> &VecDeque<Delivery> {
        &self.queue
    }

    fn forget(&mut self, gone: &[Delivery], total: &mut Total) {
        let bytes: usize = gone.iter().map(Delivery::bytes).sum();
        self.bytes -= bytes;
        total.bytes -= bytes;
        total.queued -= gone.len();
        total.events -= gone.iter().map(Delivery::events).sum::<usize>();
    }
}
