/** A request as code in the languages people paste it into. */

export type Snippet = 'curl' | 'Python' | 'JavaScript';
export const snippets: Snippet[] = ['curl', 'Python', 'JavaScript'];

export function asCode(kind: Snippet, origin: string, path: string, body: unknown): string {
  const json = JSON.stringify(body, null, 2);
  switch (kind) {
    case 'curl':
      return `curl -N ${origin}${path} \\\n  -H 'Content-Type: application/json' \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -d '${json.replace(/'/g, `'\\''`)}'`;
    case 'Python':
      return `import json, os, urllib.request\n\nbody = json.loads(${pythonString(json)})\nrequest = urllib.request.Request(\n    "${origin}${path}",\n    data=json.dumps(body).encode(),\n    headers={"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY', '')}"},\n)\nwith urllib.request.urlopen(request) as answer:\n    for line in answer:\n        print(line.decode(), end="")\n`;
    case 'JavaScript':
      return `const answer = await fetch("${origin}${path}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json", Authorization: \`Bearer \${process.env.API_KEY ?? ""}\` },\n  body: JSON.stringify(${json.replace(/\n/g, '\n  ')}),\n});\nfor await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) process.stdout.write(chunk);\n`;
  }
}

/** JSON inside of a raw Python literal cannot be spelled safely in all cases; a plain one with escapes can. */
function pythonString(json: string): string {
  return `"""${json.replace(/\\/g, '\\\\').replace(/"""/g, '\\"\\"\\"')}"""`;
}
