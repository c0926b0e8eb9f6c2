<?php
declare(strict_types=1);
require __DIR__ . '/../page.php';

send_headers();
if (isset($_GET['part'])) {
    exit(store_panels());
}
?>
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="2">
<title>Holdfast demo: the store</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header><p class="brand"><img src="icon.svg" alt="" width="28" height="28"> Holdfast</p></header>
<main><h1>The store</h1><?= store_panels() ?></main>
<footer class="quiet">Every two seconds anew. <a href="/">Back</a></footer>
</body>
</html>
