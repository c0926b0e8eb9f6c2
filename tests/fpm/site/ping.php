<?php
require __DIR__ . '/answer.inc';
answer((string) getmypid());
