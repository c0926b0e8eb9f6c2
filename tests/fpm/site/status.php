<?php
// What is still taken: processes, locks and waiters, as JSON.
require __DIR__ . '/answer.inc';
answer(json_encode(array_intersect_key(holdfast_status(), array_flip(['processes', 'locks_held', 'lock_waiters']))));
