<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

start_session();
$user = $_SESSION['user'] ?? null;
$visits = $_SESSION['visits'] ?? 0;
$token = $_SESSION['token'];
// The page is built without the lock: what follows must not make the visitor's other requests wait.
session_write_close();
send_headers();
?>
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Holdfast demo</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="style.css">
<script src="demo.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
  <p class="brand"><img src="icon.svg" alt="" width="28" height="28"> Holdfast</p>
  <p class="quiet">Answered by PHP process <b id="worker"><?= e(getmypid()) ?></b>, one of several that share one store. No server keeps the sessions.</p>
</header>
<main id="main">
  <section class="card" aria-labelledby="you-title">
<?php if ($user === null): ?>
    <h1 id="you-title">Log in</h1>
    <p>Any name will do. What you see next is a plain PHP session.</p>
    <form method="post" action="login.php" class="row">
      <input type="hidden" name="token" value="<?= e($token) ?>">
      <label for="name">Your name</label>
      <input id="name" name="name" required maxlength="40" autocomplete="nickname" autofocus>
      <button>Log in</button>
    </form>
<?php else: ?>
    <h1 id="you-title">Hello, <span id="user"><?= e($user) ?></span></h1>
    <p class="count"><b id="visits"><?= e($visits) ?></b> <span>visits, counted in your session</span></p>
    <div class="row">
      <form method="post" action="visit.php" id="visit">
        <input type="hidden" name="token" value="<?= e($token) ?>">
        <button>Visit</button>
      </form>
      <form method="post" action="hold.php" id="hold" target="_blank">
        <input type="hidden" name="token" value="<?= e($token) ?>">
        <input type="hidden" name="seconds" value="5">
        <button class="second">Hold the lock for 5 seconds</button>
      </form>
      <form method="post" action="logout.php">
        <input type="hidden" name="token" value="<?= e($token) ?>">
        <button class="second">Log out</button>
      </form>
    </div>
    <p id="message" class="quiet" role="status">While the lock is held, a visit waits in line; other people’s sessions do not.</p>
<?php endif ?>
  </section>
  <div id="panels"><?= store_panels() ?></div>
  <section class="card" aria-labelledby="try-title">
    <h2 id="try-title">Try to lose your session</h2>
    <ol>
      <li>Log in, visit a few times, and note the number.</li>
      <li>Kill every PHP process at once: the terminal in which the demo runs shows the <code>kill -9</code> line for it.</li>
      <li>Reload. New processes answer, you are still logged in, and the number is right.</li>
      <li>Or end the demo, reboot, and say <code>make run</code> again: the same.</li>
    </ol>
  </section>
</main>
<footer class="quiet">Needs neither scripts nor a session: <a href="status.php">the store alone</a>.</footer>
</body>
</html>
