"""`llamalab share`: one model server for a class, through nginx, with a key for each student.

    names -> students (keys) -> configuration of nginx, sheets to cut apart -> nginx -> its log

Nothing of ours is in the path of a request: nginx alone checks the keys, and passes on. With
`--site`, it also serves the lesson in the browser (`lesson_site`).
"""
