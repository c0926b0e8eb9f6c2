<?php

/** @generate-function-entries */

/** Counters of the store that this request's sessions are kept in, and of this process. */
function holdfast_status(): array {}

/** The session locks held now, at most $limit of them, with shortened ids. */
function holdfast_locks(int $limit = 100): array {}
